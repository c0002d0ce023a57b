//! One browser tab: user actions, the displayed content, and the errors that the browser reports.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::harness::{TEST_TIMEOUT, within};

/// The screen and the user preferences that a page is displayed with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    pub(super) width: u32,
    pub(super) height: u32,
    /// The `prefers-color-scheme: dark` media feature.
    pub(super) is_dark: bool,
    /// The `prefers-reduced-motion: reduce` media feature.
    pub(super) reduces_motion: bool,
}

/// An open browser tab and its DevTools connection.
pub(super) struct BrowserPage {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    calls: u64,
    /// The request URLs by the browser's request id.
    requests: HashMap<String, String>,
    errors: Vec<String>,
    /// The messages that the page sent over its WebSockets.
    sent: Vec<Value>,
}

impl BrowserPage {
    pub(super) async fn attach(url: &str, look: Screen) -> Self {
        // Boxed because this future takes 20 kB.
        let (socket, _) = within(Box::pin(connect_async(url)))
            .await
            .expect("the tab's socket");
        let mut page = Self {
            socket,
            calls: 0,
            requests: HashMap::new(),
            errors: Vec::new(),
            sent: Vec::new(),
        };
        for domain in ["Page", "Runtime", "Log", "Network", "Audits"] {
            page.call(&format!("{domain}.enable"), json!({})).await;
        }
        page.set_screen(look).await;
        page
    }

    /// Changes the screen and the preferences of the page.
    pub(super) async fn set_screen(&mut self, look: Screen) {
        let Screen { width, height, .. } = look;
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", metrics)
            .await;
        let features = json!([
            {"name": "prefers-color-scheme", "value": if look.is_dark { "dark" } else { "light" }},
            {"name": "prefers-reduced-motion", "value": if look.reduces_motion { "reduce" } else { "no-preference" }},
        ]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}))
            .await;
    }

    /// Navigates to a URL and waits until the document is complete.
    pub(super) async fn open(&mut self, url: &str) {
        let went = self.call("Page.navigate", json!({"url": url})).await;
        assert!(went["errorText"].is_null(), "{url}: {went}");
        self.wait_until(
            "the document is there",
            "document.readyState === 'complete' && location.href !== 'about:blank'",
        )
        .await;
    }

    /// Returns the value of an expression, and waits for it if it is a promise.
    pub(super) async fn eval(&mut self, expression: &str) -> Value {
        let parameters =
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", parameters).await;
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {}",
            answer["exceptionDetails"]
        );
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true on the page.
    pub(super) async fn wait_until(&mut self, what: &str, expression: &str) {
        let began = Instant::now();
        while self.eval(expression).await != true {
            if began.elapsed() > TEST_TIMEOUT {
                let text = self.eval("document.body.innerText").await;
                panic!(
                    "never: {what} ({expression})\n{}\n{:?}",
                    text.as_str().unwrap_or_default(),
                    self.errors
                );
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Returns the text of the first element that matches the selector.
    pub(super) async fn text(&mut self, selector: &str) -> String {
        let text = self
            .eval(&format!(
                "document.querySelector({})?.innerText",
                json!(selector)
            ))
            .await;
        text.as_str()
            .unwrap_or_else(|| panic!("nothing is {selector}"))
            .to_owned()
    }

    /// Clicks in the middle of an element, as a user does. An element on top of it gets the click.
    pub(super) async fn click(&mut self, selector: &str) {
        let place = format!(
            "(() => {{ const e = document.querySelector({}); e.scrollIntoView({{block: 'center', behavior: 'instant'}}); \
             const r = e.getBoundingClientRect(); return {{x: r.x + r.width / 2, y: r.y + r.height / 2}}; }})()",
            json!(selector)
        );
        let place = self.eval(&place).await;
        for (kind, buttons) in [("mousePressed", 1), ("mouseReleased", 0)] {
            let event = json!({"type": kind, "x": place["x"], "y": place["y"], "button": "left", "buttons": buttons, "clickCount": 1});
            self.call("Input.dispatchMouseEvent", event).await;
        }
    }

    /// Presses a key: `Tab`, `Enter` or `Escape`.
    pub(super) async fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            other => panic!("{other} has no code here"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Types text into the focused element.
    pub(super) async fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// Saves a screenshot of the whole page in `target/screenshots/`.
    pub(super) async fn screenshot(&mut self, name: &str) -> PathBuf {
        // Wait for fonts and for short animations.
        self.eval("document.fonts.ready.then(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 350))))")
            .await;
        let size = self.call("Page.getLayoutMetrics", json!({})).await["cssContentSize"].clone();
        let clip =
            json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1});
        let screenshot = self
            .call(
                "Page.captureScreenshot",
                json!({"captureBeyondViewport": true, "clip": clip}),
            )
            .await;
        let bytes = STANDARD
            .decode(screenshot["data"].as_str().expect("a screenshot"))
            .expect("base64");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .parent()
            .expect("target")
            .join("screenshots");
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join(format!("{name}.png"));
        fs::write(&path, bytes).expect("writable");
        path
    }

    /// Asserts that nothing is wider than the screen.
    pub(super) async fn assert_fits(&mut self) {
        let width = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]";
        let width = self.eval(width).await;
        assert!(
            width[0].as_u64() <= width[1].as_u64(),
            "the page scrolls sideways: {width}"
        );
    }

    /// Takes the errors that the browser reported since the last call: console, scripts, content
    /// security policy and requests.
    pub(super) async fn take_errors(&mut self) -> Vec<String> {
        // The browser sends all earlier events before this response.
        self.eval("0").await;
        std::mem::take(&mut self.errors)
    }

    /// Takes the messages that the page sent over its WebSockets since the last call.
    pub(super) async fn take_sent(&mut self) -> Vec<Value> {
        // The browser sends all earlier events before this response.
        self.eval("0").await;
        std::mem::take(&mut self.sent)
    }

    /// Returns the number of WebSockets that the page has opened so far.
    pub(super) fn opened_sockets(&self) -> usize {
        let is_socket = |url: &&String| url.starts_with("ws");
        self.requests.values().filter(is_socket).count()
    }

    /// Asserts that the browser reported no errors and sent requests only to `origin`.
    pub(super) async fn assert_no_errors(&mut self, origin: &str) {
        assert_eq!(self.take_errors().await, Vec::<String>::new());
        let is_own = |url: &&String| {
            url.replacen("ws", "http", 1).starts_with(origin)
                || url.starts_with(origin)
                || url.starts_with("data:")
        };
        let foreign: Vec<_> = self.requests.values().filter(|url| !is_own(url)).collect();
        assert!(
            foreign.is_empty(),
            "requested from other hosts: {foreign:?}"
        );
    }

    /// Sends one DevTools command and returns its response. Records the events that arrive
    /// meanwhile.
    async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.calls += 1;
        let message = json!({"id": self.calls, "method": method, "params": parameters});
        within(self.socket.send(Message::text(message.to_string())))
            .await
            .expect("the tab lives");
        loop {
            let message = within(self.socket.next())
                .await
                .expect("the tab lives")
                .expect("a message");
            let Message::Text(text) = message else {
                continue;
            };
            let mut message: Value = serde_json::from_str(&text).expect("JSON");
            if message["id"] == self.calls {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.record_event(&message);
        }
    }

    fn record_event(&mut self, event: &Value) {
        let about = &event["params"];
        let error = match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" | "Network.webSocketCreated" => {
                let url = about["request"]["url"]
                    .as_str()
                    .or_else(|| about["url"].as_str())
                    .unwrap_or_default();
                self.requests
                    .insert(about["requestId"].to_string(), url.to_owned());
                return;
            }
            "Network.webSocketFrameSent" => {
                let text = about["response"]["payloadData"].as_str();
                self.sent
                    .extend(text.and_then(|text| serde_json::from_str::<Value>(text).ok()));
                return;
            }
            "Network.loadingFailed" if about["canceled"] != true => {
                format!(
                    "failed: {} {}",
                    self.requests
                        .get(&about["requestId"].to_string())
                        .map_or("?", String::as_str),
                    about["errorText"]
                )
            }
            "Network.responseReceived" if about["response"]["status"].as_u64() >= Some(400) => {
                format!(
                    "{}: {}",
                    about["response"]["status"], about["response"]["url"]
                )
            }
            "Runtime.exceptionThrown" => format!(
                "exception: {}",
                about["exceptionDetails"]["exception"]["description"]
            ),
            "Runtime.consoleAPICalled" if about["type"] == "error" || about["type"] == "assert" => {
                format!("console: {}", about["args"])
            }
            "Log.entryAdded" if about["entry"]["level"] == "error" => {
                format!("log: {} {}", about["entry"]["text"], about["entry"]["url"])
            }
            "Audits.issueAdded" if about["issue"]["code"] == "ContentSecurityPolicyIssue" => {
                format!("policy: {}", about["issue"]["details"])
            }
            _ => return,
        };
        self.errors.push(error);
    }
}
