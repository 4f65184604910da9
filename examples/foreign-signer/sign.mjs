// Signs a batch as any wallet can, from the format's description alone (the tables in node/model/src/header.rs and event.rs).
//   node sign.mjs request.json --node http://127.0.0.1:7171 --stream 0x… --now > signed.json
// then POST signed.json to /streams/{id}/batches. Without options it signs what request.json says, to the last bit.
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { concatHex, keccak256, numberToHex } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'

const text = { type: 'string' }
const { values: options, positionals: [file = 0] } = parseArgs({
  allowPositionals: true,
  options: { node: text, stream: text, partition: text, now: { type: 'boolean' } },
})
const request = JSON.parse(readFileSync(file, 'utf8'))
if (options.node) {
  const { network } = await (await fetch(new URL('/info', options.node))).json()
  Object.assign(request, { chainId: network.chainId, registry: network.registry })
}
if (options.stream) Object.assign(request, { stream: options.stream, partition: 0 })
if (options.partition) request.partition = Number(options.partition)
if (options.now) {
  const later = Date.now() - Math.max(...request.events.map((event) => event.timestamp))
  request.events.forEach((event) => { event.timestamp += later })
  request.series = BigInt('0x' + randomBytes(8).toString('hex')).toString()
}
const wallet = privateKeyToAccount(request.secretKey)

const uint = (value, size, signed = false) => numberToHex(BigInt(value), { size, signed })
const sha256 = (...parts) => '0x' + createHash('sha256').update(Buffer.from(concatHex(parts).slice(2), 'hex')).digest('hex')
const length = (hex) => (hex.length - 2) / 2

const leafHash = ({ timestamp, contentType, encryptionType, content }) =>
  sha256('0x00', uint(timestamp, 8, true), uint(contentType, 2), uint(encryptionType, 2), uint(length(content), 4), content)

function merkleRoot(hashes) {
  if (hashes.length === 1) return hashes[0]
  let half = 1
  while (half * 2 < hashes.length) half *= 2
  return sha256('0x01', merkleRoot(hashes.slice(0, half)), merkleRoot(hashes.slice(half)))
}

const times = request.events.map((event) => event.timestamp)
const header = concatHex([
  '0x' + Buffer.from('mainstem/batch/1').toString('hex'),
  keccak256(concatHex([uint(request.chainId, 32), request.registry])),
  request.stream, uint(request.partition, 2),
  uint(1, 1), uint(20, 1), wallet.address, '0x' + '00'.repeat(12),
  uint(request.series, 8), uint(request.sequence, 8), uint(request.events.length, 2), request.previous,
  merkleRoot(request.events.map(leafHash)),
  uint(Math.min(...times), 8, true), uint(Math.max(...times), 8, true), uint(1, 1),
]).toLowerCase()
const signature = await wallet.signMessage({ message: { raw: sha256(header) } })

console.log(JSON.stringify({ header, signature, events: request.events }, null, 2))
