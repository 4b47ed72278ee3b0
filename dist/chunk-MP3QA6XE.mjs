import{createRequire as nodeRequire}from'node:module';const require=nodeRequire(import.meta.url);
import{a,b}from"./chunk-MXJLRARA.mjs";import"./chunk-PFLHR4MU.mjs";import"./chunk-YH4PX4XD.mjs";export{a as create,b as hashFiles};
