//! The topics of all runs, by number: those below [`KEYS`] are keys of citas, the others belong to
//! the streams over orders and transfers.

use std::sync::LazyLock;
use std::time::Duration;

use crate::script::{KEYS, stream_of};
use latido_base::ident::{Key, StreamId, Topic};
use latido_stream::{KeyRoute, KeyType, Param, ParamKind, SourceTable, Stream};

/// The key parts of the shops.
pub(super) const SHOPS: [[&str; 2]; 3] = [["1", "1"], ["1", "2"], ["2", "1"]];
/// The shops between which goods are transferred.
pub(super) const ACCOUNTS: [&str; 3] = ["norte", "sur", "centro"];
/// The streams. The first two have the keys of citas, the third one those of orders, whose lines
/// look their order's key up, the fourth one has no key, and the last one has two keys in a row.
pub(super) const STREAMS: [&str; 5] = ["estadisticas", "ventas", "lineas", "totales", "saldos"];
/// The shortest time between two frames of a key of the last stream.
pub(super) const INTERVAL: Duration = Duration::from_millis(700);
/// The number of the stream whose triggers look keys up.
const LINES: u16 = 2;
/// The values of the parameter of that stream: the smallest quantity that counts. The first one is
/// the default.
pub(super) const MIN_QUANTITIES: [u8; 2] = [0, 3];
/// The number of topics of orders with a key.
const LINE_TOPICS: u8 = 6;
/// The topic of the stream without a key.
pub(super) const TOTALS: u8 = KEYS + LINE_TOPICS;
/// The first topic of the stream with two keys in a row.
const FIRST_ACCOUNT: u8 = TOTALS + 1;
/// The number of all topics.
pub(super) const TOPICS: u8 = FIRST_ACCOUNT + 3;

/// A topic of the streams over orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderTopic {
    /// The lines of one shop's orders with at least this quantity.
    Lines { shop: u8, min_quantity: u8 },
    /// All lines.
    Totals,
    /// The transfers from and to one shop.
    Account(u8),
}

/// Returns what a topic shows, if it is one of orders.
pub(super) fn order_topic(number: u8) -> Option<OrderTopic> {
    let number = number.checked_sub(KEYS)?;
    Some(match number {
        0..LINE_TOPICS => OrderTopic::Lines {
            shop: number / 2,
            min_quantity: MIN_QUANTITIES[usize::from(number % 2)],
        },
        LINE_TOPICS => OrderTopic::Totals,
        _ => OrderTopic::Account(number - LINE_TOPICS - 1),
    })
}

/// Returns the topic of the transfers from and to a shop.
pub(super) fn topic_of_account(shop: u8) -> u8 {
    FIRST_ACCOUNT + shop
}

/// Returns the number of a topic's stream.
pub(super) fn stream_number(topic: u8) -> u8 {
    u8::try_from(ALL_TOPICS[usize::from(topic)].stream.0).unwrap()
}

/// Returns whether the topic's stream has an interval of its own.
pub(super) fn is_paced(topic: u8) -> bool {
    matches!(order_topic(topic), Some(OrderTopic::Account(_)))
}

/// Returns the first topic of a shop.
pub(super) fn first_topic_of_shop(shop: u8) -> u8 {
    KEYS + 2 * shop
}

/// All topics. They are compared after every step, so they are made once.
static ALL_TOPICS: LazyLock<Vec<Topic>> = LazyLock::new(|| (0..TOPICS).map(make_topic).collect());

/// Returns the topic with this number.
pub(super) fn topic(number: u8) -> Topic {
    ALL_TOPICS[usize::from(number)].clone()
}

fn make_topic(number: u8) -> Topic {
    match order_topic(number) {
        None => Topic {
            stream: StreamId(u16::from(stream_of(number))),
            key: Key::from_canonical(&number.to_string()),
        },
        Some(OrderTopic::Lines { shop, min_quantity }) => Topic {
            stream: StreamId(LINES),
            key: Key::from_parts(SHOPS[usize::from(shop)]).with_params([min_quantity.to_string()]),
        },
        Some(OrderTopic::Totals) => Topic {
            stream: StreamId(LINES + 1),
            key: Key::from_parts(None::<&str>),
        },
        Some(OrderTopic::Account(shop)) => Topic {
            stream: StreamId(LINES + 2),
            key: Key::from_canonical(ACCOUNTS[usize::from(shop)]),
        },
    }
}

/// Returns the number of the topic with this key. No two streams have the same.
pub(super) fn key_number(key: &Key) -> u8 {
    let of_citas = key.as_str().parse().ok();
    let of_orders = || (KEYS..TOPICS).find(|number| topic(*number).key == *key);
    of_citas.or_else(of_orders).unwrap()
}

/// Returns the numbers of all topics with the same key, whatever their parameters are.
pub(super) fn topics_of_key(key: &Key) -> Vec<u8> {
    let key = key.without_params();
    let is_of_key = |number: &u8| topic(*number).key.without_params() == key;
    (0..TOPICS).filter(is_of_key).collect()
}

/// Returns one of the two names of a topic's channel.
pub(super) fn channel(number: u8, long: bool) -> String {
    match order_topic(number) {
        None => {
            let stream = STREAMS[usize::from(stream_of(number))];
            format!("{stream}:{}{number}", if long { "negocio_" } else { "" })
        }
        Some(OrderTopic::Totals) => "totales".to_owned(),
        // A text has one spelling.
        Some(OrderTopic::Account(shop)) => format!("saldos:{}", ACCOUNTS[usize::from(shop)]),
        Some(OrderTopic::Lines { shop, min_quantity }) => {
            let [tienda, caja] = SHOPS[usize::from(shop)];
            match (long, min_quantity) {
                (false, 0) => format!("lineas:{tienda}/{caja}"),
                (false, _) => format!("lineas:{tienda}/{caja}?minimo={min_quantity}"),
                (true, _) => format!("lineas:tienda_{tienda}/{caja}?minimo=0{min_quantity}"),
            }
        }
    }
}

/// Returns the topic of a channel name.
pub(super) fn topic_of_channel(name: &str) -> u8 {
    let of_citas = || {
        let (_, key) = name.split_once(':')?;
        key.trim_start_matches("negocio_").parse().ok()
    };
    let is_name = |number: &u8| {
        [false, true]
            .map(|long| channel(*number, long))
            .contains(&name.to_owned())
    };
    let of_orders = || (KEYS..TOPICS).find(is_name);
    of_citas().or_else(of_orders).unwrap()
}

/// Returns the fields of the key that a frame of this topic shows, as the channel's name wrote them.
pub(super) fn key_fields(number: u8) -> Vec<(&'static str, String)> {
    match order_topic(number) {
        None => vec![("negocio_id", number.to_string())],
        Some(OrderTopic::Totals) => Vec::new(),
        Some(OrderTopic::Account(shop)) => {
            vec![("tienda_id", ACCOUNTS[usize::from(shop)].to_owned())]
        }
        Some(OrderTopic::Lines { shop, .. }) => {
            let parts = SHOPS[usize::from(shop)].map(str::to_owned);
            ["tienda_id", "caja"].into_iter().zip(parts).collect()
        }
    }
}

fn table(name: &str, route: KeyRoute) -> SourceTable {
    SourceTable {
        name: name.to_owned(),
        route,
        columns: Vec::new(),
    }
}

/// Returns the streams over orders.
pub(super) fn order_streams() -> [Stream; 3] {
    let columns =
        |names: &[&str]| KeyRoute::Columns(names.iter().map(ToString::to_string).collect());
    let [.., lines, totals, accounts] = STREAMS;
    let lines = Stream {
        key_fields: vec!["tienda_id".to_owned(), "caja".to_owned()],
        key_types: vec![KeyType::Integer; 2].into(),
        params: vec![Param {
            name: "minimo".to_owned(),
            kind: ParamKind::Integer,
            default: Some(MIN_QUANTITIES[0].to_string()),
        }],
        tables: vec![
            table("pedidos", columns(&["tienda_id", "caja"])),
            table("lineas", KeyRoute::Lookup(String::new())),
        ],
        ..Stream::test_stream(lines, None)
    };
    let totals = Stream {
        key_fields: Vec::new(),
        key_types: Vec::new().into(),
        tables: vec![table("lineas", columns(&[]))],
        ..Stream::test_stream(totals, None)
    };
    let accounts = Stream {
        key_fields: vec!["tienda_id".to_owned()],
        interval: Some(INTERVAL),
        tables: vec![
            table("traspasos", columns(&["origen_id"])),
            table("traspasos", columns(&["destino_id"])),
        ],
        ..Stream::test_stream(accounts, Some(KeyType::Text))
    };
    [lines, totals, accounts]
}
