/** Requests to an S3 server, signed (AWS Signature Version 4): the few that set a bucket up. Not for what is measured. */
import { createHash, createHmac } from 'node:crypto'

export interface S3Keys {
  readonly access: string
  readonly secret: string
}

const REGION = 'us-east-1'
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest()

/** Sends a signed request. @throws with the server's answer when it is not a success */
export async function signedRequest(method: string, address: string, keys: S3Keys, body = ''): Promise<void> {
  const url = new URL(address)
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, '')
  const headers = { host: url.host, 'x-amz-content-sha256': sha256(body), 'x-amz-date': time }
  const names = Object.keys(headers).join(';')
  const lines = Object.entries(headers).map(([name, value]) => `${name}:${value}\n`)
  // As the standard wants it: a parameter without a value still has its equals sign.
  const query = [...url.searchParams].map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&')
  const canonical = [method, url.pathname, query, lines.join(''), names, sha256(body)].join('\n')
  const scope = `${time.slice(0, 8)}/${REGION}/s3/aws4_request`
  const key = [time.slice(0, 8), REGION, 's3', 'aws4_request'].reduce<string | Buffer>(hmac, `AWS4${keys.secret}`)
  const signature = createHmac('sha256', key)
    .update(['AWS4-HMAC-SHA256', time, scope, sha256(canonical)].join('\n'))
    .digest('hex')
  const authorization = `AWS4-HMAC-SHA256 Credential=${keys.access}/${scope}, SignedHeaders=${names}, Signature=${signature}`
  const answer = await fetch(url, { method, headers: { ...headers, authorization }, ...(body === '' ? {} : { body }) })
  if (!answer.ok) throw new Error(`${method} ${url.pathname}: ${answer.status} ${await answer.text()}`)
}
