//! RFC 6455 over real sockets, case by case, as public suites test it. The server is the echo
//! server of `examples/`, which uses the product's own framing, sessions and shards. Each case
//! names its section. The classes are those of the Autobahn suite (1 to 7, 9 and 10).

mod cases;
mod client;
mod closing;
mod framing;
mod opening;
mod utf8;

#[expect(
    dead_code,
    reason = "only its main function, which parses arguments, is unused"
)]
#[path = "../../examples/conformance.rs"]
mod conformance;
