/** docs/operations/metrics.md, from what running servers expose. */

export interface MetricInfo {
  readonly name: string
  readonly type: string
  readonly help: string
}

const OF_OURS = 'cairn_'

/** The metrics of ours in a Prometheus exposition, by name. */
export function metricsIn(exposition: string): MetricInfo[] {
  const types = new Map(
    [...exposition.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map((match) => [match[1] as string, match[2] as string]),
  )
  return [...exposition.matchAll(/^# HELP (\S+) (.*)$/gm)]
    .map((match) => ({ name: match[1] as string, type: types.get(match[1] as string) ?? 'untyped', help: match[2] as string }))
    .filter((metric) => metric.name.startsWith(OF_OURS))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

export function metricsDocument(byRole: Readonly<Record<string, readonly MetricInfo[]>>): string {
  const sections = Object.entries(byRole).map(([role, metrics]) => {
    const rows = metrics.map((metric) => `| \`${metric.name}\` | ${metric.type} | ${metric.help} |`)
    return `## ${role}\n\n| name | type | meaning |\n|---|---|---|\n${rows.join('\n')}\n`
  })
  return `# Metrics

Generated from what running servers expose at \`/metrics\` by \`npm run generate\`; a test keeps the two equal.

Every process also exposes prom-client's default metrics of memory, CPU, event loop and garbage collection
(\`process_*\` and \`nodejs_*\`). Times are in seconds, sizes in bytes.

${sections.join('\n')}`
}
