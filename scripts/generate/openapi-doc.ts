/** docs/api/openapi.json: the document that a master serves at /v1/openapi.json. */
import { openApiDocument } from '../../master/index.js'
import { VERSION } from '../../common/version.js'

export const openApiText = (): string => `${JSON.stringify(openApiDocument(VERSION), null, 2)}\n`
