/** What the local file system says, as an error of ours. */
import { CairnError, isCairnError, messageOf, systemCode } from '../common/errors/cairn-error.js'

export function localError(error: unknown, path: string): CairnError {
  if (isCairnError(error)) return error
  switch (systemCode(error)) {
    case 'ENOENT':
      return new CairnError('LOCAL_FILE_NOT_FOUND', `There is no local file or directory ${path}.`, { cause: error })
    case 'ENOSPC':
    case 'EDQUOT':
      return new CairnError(
        'LOCAL_DISK_FULL',
        `The local disk is full at ${path}. What was transferred is kept: free space and run the command again.`,
        { cause: error },
      )
    case 'EISDIR':
    case 'EEXIST':
    case 'ENOTDIR':
      return new CairnError(
        'LOCAL_FILE_EXISTS',
        `Something else stands at ${path} (${messageOf(error)}). Choose another target.`,
        { cause: error },
      )
    case undefined:
    default:
      return new CairnError('LOCAL_IO_ERROR', `${path}: ${messageOf(error)}.`, { cause: error })
  }
}
