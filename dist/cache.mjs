import{createRequire as nodeRequire}from'node:module';const require=nodeRequire(import.meta.url);
import{t as r,x as o}from"./chunk-KJQ2UDHN.mjs";import"./chunk-PFLHR4MU.mjs";import"./chunk-K4MC4YC5.mjs";import"./chunk-L3ZV5P72.mjs";import"./chunk-2BDOKWSJ.mjs";import"./chunk-RQZ7SUDI.mjs";import"./chunk-GLONRTKI.mjs";import"./chunk-YH4PX4XD.mjs";await o(process.env,r);
