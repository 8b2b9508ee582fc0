// A web server of one page: says who it is and whom it sees. usage: node web.js PORT NAME
import { createServer } from 'node:http'

const [port, name] = process.argv.slice(2)
createServer((request, response) => {
  const peer = request.socket.remoteAddress.replace('::ffff:', '')
  response.end(`hello from ${name}, you are ${peer}\n`)
}).listen(Number(port), '::', () => console.log('listening'))
