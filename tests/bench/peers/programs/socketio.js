// socket.io rooms, websocket transport only.
const { port, channels, allowed, ticker } = require('./common');
const { Server } = require('socket.io');
const http = require('http').createServer();
const io = new Server(http, { transports: ['websocket'], serveClient: false });
io.use((s, next) => (allowed(s.handshake.query.token) ? next() : next(new Error('unauthorized'))));
io.on('connection', (s) => s.join('c' + ((+s.handshake.query.ch || 0) % channels)));
ticker((c, text) => io.to('c' + c).emit('stats', JSON.parse(text)));
http.listen(port, '127.0.0.1', 4096);
