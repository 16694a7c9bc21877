// Sends the records of one JSON object on standard input, {bootstrap, topic, codec, records}, with kafkajs.
// Keys, values and header values are base64 or null.
const { CompressionCodecs, CompressionTypes, Kafka, Partitioners, logLevel } = require("kafkajs");
const snappy = require("kafkajs-snappy");
const lz4 = require("lz4js");
const { ZstdCodec } = require("zstd-codec");

const codecOf = (compress) => () => ({
  compress: async (encoder) => Buffer.from(await compress(encoder.buffer)),
  decompress: async () => { throw new Error("this program only sends"); },
});
CompressionCodecs[CompressionTypes.Snappy] = snappy;
// Kafka takes only frames of independent blocks. lz4js does not set that flag, though a frame of up to 4 MB is one block.
CompressionCodecs[CompressionTypes.LZ4] = codecOf((bytes) => {
  const frame = lz4.compress(bytes);
  frame.set([0x60, 0x70, 0x73], 4); // flags, block size of 4 MB, and the checksum of both
  return frame;
});
CompressionCodecs[CompressionTypes.ZSTD] = codecOf(
  (bytes) => new Promise((done) => ZstdCodec.run((zstd) => done(new zstd.Simple().compress(bytes, 3)))),
);
const TYPES = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
};
const bytes = (text) => (text === null ? null : Buffer.from(text, "base64"));

async function main() {
  const order = JSON.parse(require("fs").readFileSync(0, "utf8"));
  const kafka = new Kafka({ brokers: [order.bootstrap], logLevel: logLevel.ERROR });
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
  await producer.connect();
  const messages = order.records.map(({ key, value, headers }) => ({
    key: bytes(key),
    value: bytes(value),
    headers: Object.fromEntries(headers.map(([name, content]) => [name, bytes(content)])),
  }));
  await producer.send({ topic: order.topic, compression: TYPES[order.codec], acks: -1, messages });
  await producer.disconnect();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
