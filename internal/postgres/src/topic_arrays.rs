//! The columns of topics as parameters of a statement: one array for each key part and parameter.

use tokio_postgres::types::{ToSql, Type};

use crate::key_array;
use latido_base::ident::Key;

/// One parameter: its values and their array type.
pub(super) type ArrayParameter<'a> = (Box<dyn ToSql + Sync + Send + 'a>, Type);

/// Returns whether arrays of these types can hold the texts of a topic, one each.
pub(super) fn fits<'a>(arrays: &[Type], texts: impl Iterator<Item = &'a str>) -> bool {
    let mut pairs = arrays.iter().zip(texts);
    pairs.all(|(array, text)| key_array::fits(array, text))
}

/// Returns one array for each of these types, with the texts that `texts_of` finds in each topic.
pub(super) fn columns<'a, I>(
    arrays: &[Type],
    topics: &[&'a Key],
    texts_of: impl Fn(&'a Key) -> I,
) -> Vec<ArrayParameter<'a>>
where
    I: Iterator<Item = &'a str>,
{
    let mut columns: Vec<Vec<&'a str>> = vec![Vec::with_capacity(topics.len()); arrays.len()];
    for topic in topics {
        for (column, text) in columns.iter_mut().zip(texts_of(topic)) {
            column.push(text);
        }
    }
    let parameter = |(array, texts): (&Type, Vec<&'a str>)| {
        (key_array::array_parameter(array, &texts), array.clone())
    };
    arrays.iter().zip(columns).map(parameter).collect()
}

/// Returns the parameters in the form that a query takes.
pub(super) fn borrow<'a>(columns: &'a [ArrayParameter<'_>]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    let borrowed = columns.iter();
    borrowed
        .map(|(values, array)| (&**values as &(dyn ToSql + Sync), array.clone()))
        .collect()
}
