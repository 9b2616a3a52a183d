/**
 * A report as one SVG: a panel per workload, a bar per system, each with its figure. It needs nothing from elsewhere and
 * follows the reader's choice of light or dark.
 */
import { grouped, systemsOf, titleOf, type PeersReport, type WorkloadReport } from './report.js'

const COLUMNS = 2
const PANEL_WIDTH = 430
const LABEL_WIDTH = 118
const FIGURE_WIDTH = 92
const BAR_HEIGHT = 15
const BAR_STEP = 21
const TITLE_HEIGHT = 30
const MARGIN = 22
const HEADER_HEIGHT = 54

const STYLE = `
  text { font: 12px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2328 }
  .head { font-size: 16px; font-weight: 600 }
  .title { font-weight: 600 }
  .quiet { fill: #59636e }
  .back { fill: #ffffff }
  .ours { fill: #0969da }
  .way { fill: #54aeff }
  .peer { fill: #afb8c1 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .quiet { fill: #9198a1 }
    .back { fill: #0d1117 }
    .ours { fill: #4493f8 }
    .way { fill: #1f6feb }
    .peer { fill: #656c76 }
  }`

const escaped = (text: string): string => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;')

const text = (x: number, y: number, kind: string, words: string, anchor = 'start'): string =>
  `<text x="${x}" y="${y}" class="${kind}" text-anchor="${anchor}">${escaped(words)}</text>`

const classOf = (system: string): string => (system === 'cairn' ? 'ours' : system.startsWith('cairn-') ? 'way' : 'peer')

export function chartOf(report: PeersReport): string {
  const panels = Object.values(report.workloads)
  const order = systemsOf(report)
  const height = (panel: WorkloadReport): number => TITLE_HEIGHT + BAR_STEP * Object.keys(panel.systems).length + MARGIN
  const columns: number[] = Array.from({ length: COLUMNS }, () => HEADER_HEIGHT)
  const drawn = panels.map((panel) => {
    // The next panel goes where there is most room, so that its neighbours stay in order.
    const column = columns.indexOf(Math.min(...columns))
    const top = columns[column] as number
    columns[column] = top + height(panel)
    return panelAt(report, panel, order, MARGIN + column * (PANEL_WIDTH + MARGIN), top)
  })
  const [width, total] = [MARGIN + COLUMNS * (PANEL_WIDTH + MARGIN), Math.max(...columns)]
  const last = report.runs.at(-1)
  const cores = last?.machine.cores ?? '?'
  const subtitle = `${last?.date.slice(0, 10) ?? ''}, one machine, ${cores} cores; medians of ${report.rounds} interleaved rounds; higher is better`
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${total}" width="${width}" height="${total}" role="img" aria-label="Cairn beside other systems">`,
    `<style>${STYLE}\n</style>`,
    `<rect class="back" width="${width}" height="${total}" rx="6"/>`,
    text(MARGIN, 26, 'head', 'Cairn beside other systems'),
    text(MARGIN, 44, 'quiet', subtitle),
    ...drawn,
    '</svg>\n',
  ].join('\n')
}

function panelAt(report: PeersReport, panel: WorkloadReport, order: readonly string[], left: number, top: number): string {
  const systems = order.filter((system) => panel.systems[system])
  const rates = systems.map((system) => panel.systems[system]?.rate.p50 ?? 0)
  const room = PANEL_WIDTH - LABEL_WIDTH - FIGURE_WIDTH
  const bars = systems.map((system, index) => {
    const rate = rates[index] as number
    const y = top + TITLE_HEIGHT + index * BAR_STEP
    const length = Math.max(1, Math.round((rate / Math.max(...rates)) * room))
    const middle = y + BAR_HEIGHT - 3
    return [
      text(left + LABEL_WIDTH - 8, middle, 'name', titleOf(report, system), 'end'),
      `<rect class="${classOf(system)}" x="${left + LABEL_WIDTH}" y="${y}" width="${length}" height="${BAR_HEIGHT}" rx="2"/>`,
      text(left + LABEL_WIDTH + length + 6, middle, 'quiet', `${grouped(rate)} ${panel.unit}`),
    ].join('\n')
  })
  return [text(left, top + 18, 'title', `${panel.title} (${sizeOf(panel)})`), ...bars].join('\n')
}

const sizeOf = ({ amount, unit }: WorkloadReport): string =>
  unit === 'MB/s' ? `${(amount / 1e9).toFixed(1)} GB` : `${grouped(amount)} files`
