// The usual Go design: one hub goroutine, a `send chan []byte` of 256 per client,
// a readPump and a writePump goroutine per client (gorilla/websocket).
// env: PORT, RATE (broadcasts a second and channel), CH (channels), SECRET (HS256), PAYLOAD with @T@ for the stamp and @N@ for the
// turn. Publishes once anything is written to its standard input. PreparedMessage: the frame is encoded once.
package main

import (
	"bufio"
	"errors"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/golang-jwt/jwt"
	"github.com/gorilla/websocket"
)

const (
	writeWait  = 10 * time.Second
	pongWait   = 60 * time.Second
	pingPeriod = pongWait * 9 / 10
)

type message struct {
	raw  []byte
	prep *websocket.PreparedMessage
}

type client struct {
	conn *websocket.Conn
	send chan message
	ch   int
}

type publication struct {
	ch  int
	msg message
}

type hub struct {
	clients              map[int]map[*client]bool
	register, unregister chan *client
	broadcast            chan publication
}

func (h *hub) run() {
	for {
		select {
		case c := <-h.register:
			if h.clients[c.ch] == nil {
				h.clients[c.ch] = map[*client]bool{}
			}
			h.clients[c.ch][c] = true
		case c := <-h.unregister:
			if h.clients[c.ch][c] {
				delete(h.clients[c.ch], c)
				close(c.send)
			}
		case p := <-h.broadcast:
			for c := range h.clients[p.ch] {
				select {
				case c.send <- p.msg:
				default: // slow consumer
					delete(h.clients[p.ch], c)
					close(c.send)
				}
			}
		}
	}
}

func (c *client) readPump(h *hub) {
	defer func() { h.unregister <- c; c.conn.Close() }()
	c.conn.SetReadLimit(4096)
	c.conn.SetReadDeadline(time.Now().Add(pongWait))
	c.conn.SetPongHandler(func(string) error { return c.conn.SetReadDeadline(time.Now().Add(pongWait)) })
	for {
		if _, _, err := c.conn.ReadMessage(); err != nil {
			return
		}
	}
}

func (c *client) writePump() {
	tick := time.NewTicker(pingPeriod)
	defer func() { tick.Stop(); c.conn.Close() }()
	for {
		select {
		case m, ok := <-c.send:
			c.conn.SetWriteDeadline(time.Now().Add(writeWait))
			if !ok {
				c.conn.WriteMessage(websocket.CloseMessage, nil)
				return
			}
			var err error
			if m.prep != nil {
				err = c.conn.WritePreparedMessage(m.prep)
			} else {
				err = c.conn.WriteMessage(websocket.TextMessage, m.raw)
			}
			if err != nil {
				return
			}
		case <-tick.C:
			c.conn.SetWriteDeadline(time.Now().Add(writeWait))
			if c.conn.WriteMessage(websocket.PingMessage, nil) != nil {
				return
			}
		}
	}
}

func num(k string, d float64) float64 {
	if v, err := strconv.ParseFloat(os.Getenv(k), 64); err == nil {
		return v
	}
	return d
}

func mono() int64 { // CLOCK_MONOTONIC, as the load tool reads it
	var ts syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, 1, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Nano()
}

func check(token string, secret []byte) error {
	t, err := jwt.Parse(token, func(t *jwt.Token) (interface{}, error) {
		if t.Method != jwt.SigningMethodHS256 {
			return nil, errors.New("alg")
		}
		return secret, nil
	})
	if err == nil && !t.Valid {
		return errors.New("invalid")
	}
	return err
}

func main() {
	h := &hub{map[int]map[*client]bool{}, make(chan *client), make(chan *client), make(chan publication, 64)}
	go h.run()
	rate, nch := num("RATE", 50), int(num("CH", 1))
	payload := os.Getenv("PAYLOAD")
	secret := []byte(os.Getenv("SECRET"))
	go func() {
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			return
		}
		per := time.Duration(float64(time.Second) / (rate * float64(nch)))
		next := time.Now().Add(per)
		for i := 0; ; i++ {
			time.Sleep(time.Until(next))
			if time.Since(next) > 200*time.Millisecond {
				next = time.Now()
			}
			next = next.Add(per)
			text := strings.Replace(payload, "@T@", strconv.FormatInt(mono(), 10), 1)
			text = strings.ReplaceAll(text, "@N@", strconv.Itoa(100000+i))
			m := message{raw: []byte(text)}
			m.prep, _ = websocket.NewPreparedMessage(websocket.TextMessage, m.raw)
			h.broadcast <- publication{i % nch, m}
		}
	}()
	up := websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024, CheckOrigin: func(*http.Request) bool { return true }}
	http.HandleFunc("/ws/", func(w http.ResponseWriter, r *http.Request) {
		ch, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/ws/"))
		if err := check(r.URL.Query().Get("token"), secret); err != nil {
			http.Error(w, err.Error(), 401)
			return
		}
		conn, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		c := &client{conn, make(chan message, 256), ch % nch}
		h.register <- c
		go c.writePump()
		go c.readPump(h)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
