import{createRequire as nodeRequire}from'node:module';const require=nodeRequire(import.meta.url);
var r=class extends Error{constructor(s){super(s),this.name="WireError"}};export{r as a};
