import{createRequire as nodeRequire}from'node:module';const require=nodeRequire(import.meta.url);
import{u as r,x as o}from"./chunk-QNR2MG5Z.mjs";import"./chunk-SQ7BCHVA.mjs";import"./chunk-IUOG7FMY.mjs";import"./chunk-XPCHFB5V.mjs";import"./chunk-3EBJW4T3.mjs";import"./chunk-PFLHR4MU.mjs";import"./chunk-YH4PX4XD.mjs";await o(process.env,r);
