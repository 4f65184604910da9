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

// Node.js 20 has not got it yet, and these packages want it.
Promise.withResolvers ??= function () {
  const parts = {}
  parts.promise = new this((resolve, reject) => Object.assign(parts, { resolve, reject }))
  return parts
}

const PATIENCE = 10_000
const LANES = ['/mainstem/live/1', '/mainstem/bulk/1']

const within = (what, promise, patience = PATIENCE) => {
  let timer
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not happen`)), patience)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

// The acceptor's answer: u32 length, then text; and whether the acceptor then closed its side in order. By events, because
// iterating over a stream that the other side has closed already never ends.
const answer = (stream) => new Promise((resolve) => {
  let bytes = Buffer.alloc(0)
  const look = () => {
    if (bytes.length < 4 || bytes.length < 4 + bytes.readUInt32BE(0)) return
    const text = bytes.subarray(4, 4 + bytes.readUInt32BE(0)).toString()
    const closed = stream.remoteWriteStatus === 'closed'
    if (text === 'READY' || closed) resolve({ text, closed })
  }
  stream.addEventListener('message', ({ data }) => {
    bytes = Buffer.concat([bytes, data.subarray()])
    look()
  })
  stream.addEventListener('remoteCloseWrite', look)
  stream.addEventListener('close', look)
})

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
    // A stop sometimes waits for ever for a stream that the other side has left; with nothing else to wait for, Node.js ends
    // with status 13 then. All that the test asks about has happened.
    await within('the stop', node.stop(), 1_000).catch((error) => console.error(error.message))
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
