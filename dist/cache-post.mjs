import{createRequire as nodeRequire}from'node:module';const require=nodeRequire(import.meta.url);
import{v as r,y as o}from"./chunk-JQKYVCFV.mjs";import"./chunk-3EBJW4T3.mjs";import"./chunk-PFLHR4MU.mjs";import"./chunk-YH4PX4XD.mjs";await o(process.env,r);
