/** Prometheus metrics: one registry per server, so that several can live in one process (tests, simulation). */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'

/** Latency buckets in seconds, from a memory hit to a hung disk. */
export const LATENCY_BUCKETS_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

export interface MetricDefinition {
  readonly name: string
  readonly help: string
  readonly labelNames?: readonly string[]
}

export class Metrics {
  readonly registry = new Registry()

  /** @param processMetrics also report this process's memory, CPU, event loop and garbage collection. */
  constructor(processMetrics: boolean) {
    if (processMetrics) collectDefaultMetrics({ register: this.registry })
  }

  counter(definition: MetricDefinition): Counter {
    return new Counter({ ...definition, labelNames: [...(definition.labelNames ?? [])], registers: [this.registry] })
  }

  histogram(definition: MetricDefinition): Histogram {
    return new Histogram({
      ...definition,
      labelNames: [...(definition.labelNames ?? [])],
      buckets: LATENCY_BUCKETS_SECONDS,
      registers: [this.registry],
    })
  }

  /** A gauge that is read when it is scraped. */
  gauge(
    definition: MetricDefinition,
    read: () => number | readonly { readonly labels: Record<string, string>; readonly value: number }[],
  ): Gauge {
    return new Gauge({
      ...definition,
      labelNames: [...(definition.labelNames ?? [])],
      registers: [this.registry],
      collect() {
        const value = read()
        this.reset()
        if (typeof value === 'number') this.set(value)
        else for (const { labels, value: one } of value) this.set(labels, one)
      },
    })
  }

  /** The exposition text and its content type. */
  async expose(): Promise<{ readonly contentType: string; readonly text: string }> {
    return { contentType: this.registry.contentType, text: await this.registry.metrics() }
  }
}
