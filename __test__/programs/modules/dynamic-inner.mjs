export default async function () {
  await null;
  return globalThis.leave();
}
