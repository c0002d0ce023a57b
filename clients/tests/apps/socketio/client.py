"""Connects with python-socketio and its default transports, sends an event, and prints the echo."""

import sys

import socketio

client = socketio.Client(reconnection=False)
client.on('message-back', lambda text: (print('echo', text, flush=True), client.disconnect()))
client.connect(sys.argv[1], wait_timeout=10)
client.emit('message', 'first')
client.wait()
