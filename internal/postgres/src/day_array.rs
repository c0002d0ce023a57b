//! The local days of keys as array parameters of a stream's query.

use jiff::civil::{Date, DateTime, Time};
use tokio_postgres::types::{ToSql, Type};

use latido_stream::LocalDay;

/// The types that a query may declare for `$2` and `$3`, as text for messages.
pub(super) const EXPECTED_ARRAYS: &str = "date[], timestamp[] or timestamptz[]";

/// The edge of a day that a parameter holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DayEdge {
    /// The day itself, for `$2`.
    Start,
    /// The next day, for `$3`.
    End,
}

/// Returns whether an array of that type can hold days.
pub(super) fn is_day_array(array: &Type) -> bool {
    [
        Type::DATE_ARRAY,
        Type::TIMESTAMP_ARRAY,
        Type::TIMESTAMPTZ_ARRAY,
    ]
    .contains(array)
}

/// Returns the parameters `$2` and `$3`, as far as a statement with these types has them.
///
/// A date is that of the day, or of the next one. A timestamp without a zone is the wall clock's
/// midnight. A timestamp with a zone is the instant at which the day starts at the key.
pub(super) fn day_parameters(
    arrays: &[Type],
    days: &[LocalDay],
) -> Vec<(Box<dyn ToSql + Sync + Send>, Type)> {
    let edges = [DayEdge::Start, DayEdge::End];
    let parameter =
        |(array, edge): (&Type, DayEdge)| (day_parameter(array, edge, days), array.clone());
    arrays.iter().zip(edges).map(parameter).collect()
}

fn day_parameter(array: &Type, edge: DayEdge, days: &[LocalDay]) -> Box<dyn ToSql + Sync + Send> {
    let date = |day: &LocalDay| match edge {
        DayEdge::Start => day.date,
        DayEdge::End => day.next_date(),
    };
    let instant = |day: &LocalDay| match edge {
        DayEdge::Start => day.start,
        DayEdge::End => day.end,
    };
    let midnight = |date: Date| DateTime::from_parts(date, Time::midnight());
    match *array {
        Type::TIMESTAMPTZ_ARRAY => Box::new(days.iter().map(instant).collect::<Vec<_>>()),
        Type::TIMESTAMP_ARRAY => Box::new(days.iter().map(date).map(midnight).collect::<Vec<_>>()),
        _ => Box::new(days.iter().map(date).collect::<Vec<_>>()),
    }
}
