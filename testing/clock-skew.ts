/** Loaded into a process before anything else (`node --import`): its wall clock is off by CAIRN_TEST_CLOCK_SKEW_MS. */
const skewMs = Number(process.env['CAIRN_TEST_CLOCK_SKEW_MS'] ?? 0)

const RealDate = Date
const now = (): number => RealDate.now() + skewMs

globalThis.Date = new Proxy(RealDate, {
  construct: (target, args: unknown[]) => Reflect.construct(target, args.length === 0 ? [now()] : args) as object,
  apply: () => new RealDate(now()).toString(),
  get: (target, name) => (name === 'now' ? now : (Reflect.get(target, name) as unknown)),
})
