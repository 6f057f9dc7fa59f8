import { buildNative } from './bench/native.mjs'
import { Subject } from './bench/subject.mjs'
import {readFileSync} from 'node:fs'
buildNative()
for (const c of [0,10]) {
const s=await Subject.start(100,{directory:'/tmp/out'})
if(c) await s.run('threads',{count:c,busy:0})
const t=readFileSync(`/proc/${s.pid}/smaps`,'utf8')
let cur, n=0,dc=0,rss=0,drss=0,anon=0, list=[]
for(const l of t.split('\n')){ const h=l.match(/^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \d+\s*(.*)$/); if(h){cur={n:h[4],p:h[3],rss:0,anon:0};n++} else if(l.startsWith('Rss:'))cur.rss=parseInt(l.slice(4)); else if(l.startsWith('Anonymous:'))cur.anon=parseInt(l.slice(10)); else if(l.startsWith('VmFlags')){ if(/ dc/.test(l)){dc++;drss+=cur.rss} else {rss+=cur.rss;anon+=cur.anon;list.push(cur)} } }
console.log({c,vmas:n,dc,nondcRss:rss,nondcAnon:anon,drss})
const g={}; for(const x of list){ g[x.n+' '+x.p]??={n:0,rss:0,anon:0}; const o=g[x.n+' '+x.p];o.n++;o.rss+=x.rss;o.anon+=x.anon}
console.log(Object.entries(g).sort((a,b)=>b[1].anon-a[1].anon).slice(0,8).map(([k,v])=>k+' '+JSON.stringify(v)).join('\n'))
console.log(readFileSync(`/proc/${s.pid}/status`,'utf8').match(/VmPTE.*/)[0])
await s.stop()
}
