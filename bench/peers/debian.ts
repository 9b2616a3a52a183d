/** Programs from Debian's packages, unpacked into a directory: nothing is installed, and no service starts by itself. */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { perform } from './owned.js'
import { Unavailable, type InstallContext } from './system.js'

/**
 * Fetches packages, and what they need beyond what is installed.
 * @returns the directory that stands for `/` @throws {@link Unavailable} when apt-get cannot fetch them
 */
export async function unpackDebian(packages: readonly string[], { cache, say }: InstallContext): Promise<string> {
  const root = path.join(cache, 'debian', packages.join('+'))
  const done = path.join(root, '.complete')
  if (existsSync(done)) return root
  const archives = path.join(root, '.archives')
  mkdirSync(path.join(archives, 'partial'), { recursive: true })
  say(`fetching ${packages.join(', ')}`)
  const options = [`Dir::Cache::archives=${archives}`, 'Debug::NoLocking=1', 'APT::Sandbox::User=root']
  const flags = ['-q', '-y', '--no-install-recommends', '--download-only', '--reinstall']
  try {
    await perform(['apt-get', 'install', ...flags, ...options.flatMap((option) => ['-o', option]), ...packages])
    const files = readdirSync(archives).filter((file) => file.endsWith('.deb'))
    for (const file of files) await perform(['dpkg', '-x', path.join(archives, file), root])
    writeFileSync(done, `${files.join('\n')}\n`)
    return root
  } catch (error) {
    throw new Unavailable(`Debian's packages ${packages.join(', ')} could not be fetched: ${(error as Error).message}`)
  }
}

/** The version of a package that was unpacked. */
export function unpackedVersion(root: string, name: string): string {
  const file = readdirSync(path.join(root, '.archives')).find((one) => one.startsWith(`${name}_`))
  return decodeURIComponent(file?.split('_')[1] ?? 'unknown')
}

/** For programs that were unpacked with the libraries they need. */
export function libraryPath(root: string): Record<string, string> {
  const folders = ['lib', 'usr/lib'].map((folder) => path.join(root, folder)).filter((folder) => existsSync(folder))
  const machines = folders.flatMap((folder) =>
    readdirSync(folder)
      .filter((name) => name.endsWith('-linux-gnu'))
      .map((name) => path.join(folder, name)),
  )
  return machines.length === 0 ? {} : { LD_LIBRARY_PATH: machines.join(':') }
}
