import{createRequire as nodeRequire}from'node:module';const require=nodeRequire(import.meta.url);
async function y(n,o,t){let a=n[Symbol.iterator](),r=!1,s=async()=>{for(;!r;){let{value:e,done:i}=a.next();if(i)return;try{await t(e)}catch(d){throw r=!0,d}}},l=await Promise.allSettled(Array.from({length:o},s));for(let e of l)if(e.status==="rejected")throw e.reason}export{y as a};
