import { buildNative } from './bench/native.mjs'
import { Subject } from './bench/subject.mjs'
buildNative()
const [mbs,count,busy]=process.argv.slice(2).map(Number)
const s=await Subject.start(mbs,{directory:'/tmp/out'})
if(count) await s.run('threads',{count,busy})
for(let n=0;n<9;n++){ const b=await s.run('bare'); const o=await s.run('createCore',{method:'direct'}); console.error('bare',JSON.stringify(b),'ours',o.callMs) }
await s.stop()
