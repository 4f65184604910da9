// A libp2p peer that shares no code with Mainstem: connects to a broker's overlay over each given address, identifies it,
// pings it, and is refused on the data protocols with a code and a sentence. Prints one JSON line per address.
//
//   node stranger.mjs <multiaddr>…          with a key that no broker has
//   KEY=<64 hex digits> node stranger.mjs … with a secp256k1 key; if that is a broker's, it is let in and sends one frame
import { noise } from '@chainsafe/libp2p-noise'
import { quic } from '@chainsafe/libp2p-quic'
import { yamux } from '@chainsafe/libp2p-yamux'
import { generateKeyPair, privateKeyFromRaw } from '@libp2p/crypto/keys'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const PATIENCE = 10_000
const LANES = ['/mainstem/live/1', '/mainstem/bulk/1']

const within = (what, promise) => {
  let timer
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not happen`)), PATIENCE)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

// The acceptor's answer: u32 length, then text. Then whether the acceptor closed the substream.
const answer = async (stream) => {
  let bytes = Buffer.alloc(0)
  for await (const chunk of stream) {
    bytes = Buffer.concat([bytes, chunk.subarray()])
    if (bytes.length >= 4 && bytes.length >= 4 + bytes.readUInt32BE(0)) {
      const text = bytes.subarray(4, 4 + bytes.readUInt32BE(0)).toString()
      if (text === 'READY') return { text, closed: false }
    }
  }
  return { text: bytes.subarray(4).toString(), closed: bytes.length === 4 + bytes.readUInt32BE(0) }
}

const frame = (text) => {
  const bytes = Buffer.from(text)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}

const meet = async (address, privateKey) => {
  const node = await createLibp2p({
    privateKey,
    transports: [quic(), tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    services: { identify: identify(), ping: ping() }
  })
  try {
    const identified = new Promise((resolve) => node.addEventListener('peer:identify', (event) => resolve(event.detail)))
    const connection = await within('a connection', node.dial(multiaddr(address)))
    const info = await within('identify', identified)
    const rtt = await within('a ping', node.services.ping.ping(connection.remotePeer))
    const lanes = {}
    for (const lane of LANES) {
      const stream = await within('a substream', connection.newStream(lane))
      lanes[lane] = await within('an answer', answer(stream))
      if (lanes[lane].text === 'READY') stream.send(frame(`hello on ${lane}`))
    }
    return {
      address,
      connection: connection.remoteAddr.toString(),
      encryption: connection.encryption,
      multiplexer: connection.multiplexer,
      peer: connection.remotePeer.toString(),
      keyType: connection.remotePeer.type,
      protocolVersion: info.protocolVersion,
      agentVersion: info.agentVersion,
      protocols: info.protocols,
      rtt,
      lanes
    }
  } finally {
    // What was sent goes out first.
    await new Promise((resolve) => setTimeout(resolve, 200))
    await node.stop()
  }
}

const addresses = process.argv.slice(2)
if (addresses.length === 0) {
  console.error('usage: node stranger.mjs <multiaddr>…')
  process.exit(64)
}
for (const address of addresses) {
  const key = process.env.KEY === undefined
    ? await generateKeyPair('Ed25519')
    : privateKeyFromRaw(Buffer.from(process.env.KEY, 'hex'))
  console.log(JSON.stringify(await meet(address, key)))
}
process.exit(0)
