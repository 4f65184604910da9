// Signs a batch as any wallet can, from the format's description alone (the tables in node/model/src/header.rs and event.rs).
//   node sign.mjs request.json > batch.json      then POST batch.json to /streams/{id}/batches
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { concatHex, keccak256, numberToHex } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'

const request = JSON.parse(readFileSync(process.argv[2] ?? 0, 'utf8'))
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
