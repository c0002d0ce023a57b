//! RFC 6455 over real sockets, case by case, as public suites try it: against the echo server of `examples/`, which is the product's own
//! framing, sessions and shards. Each case names its section; the classes are those of Autobahn's suite (1 to 7, 9 and 10).

mod cases;
mod client;
mod closing;
mod framing;
mod opening;
mod utf8;

#[expect(dead_code, reason = "its main, which has the arguments of a program")]
#[path = "../../examples/conformance.rs"]
mod conformance;
