import{createRequire as nodeRequire}from'node:module';const require=nodeRequire(import.meta.url);
import{a,b}from"./chunk-TBS2T2GD.mjs";import"./chunk-7JB7NIGM.mjs";import"./chunk-YH4PX4XD.mjs";export{a as create,b as hashFiles};
