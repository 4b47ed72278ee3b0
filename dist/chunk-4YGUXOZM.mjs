import{createRequire as nodeRequire}from'node:module';const require=nodeRequire(import.meta.url);
function s(r){let t=Object.entries(r).filter(([n])=>/^[a-zA-Z_]\w*$/.test(n));return t.length===0?"":`{${t.map(([n,i])=>`${n}="${i.replace(/[\\"\n]/g,e=>e===`
`?"\\n":`\\${e}`)}"`).join(",")}}`}export{s as a};
