//! The columns of topics as parameters of a statement: one array for each key part and parameter.

use tokio_postgres::types::{ToSql, Type};

use crate::day_array::day_parameters;
use crate::key_array;
use crate::prepared_stream::TopicArrays;
use latido_base::ident::Key;
use latido_stream::LocalDay;

/// One parameter: its values and their array type.
pub(super) type ArrayParameter<'a> = (Box<dyn ToSql + Sync + Send + 'a>, Type);

/// Returns whether arrays of these types can hold the texts of a topic, one each.
pub(super) fn fits<'a>(arrays: &[Type], texts: impl Iterator<Item = &'a str>) -> bool {
    let mut pairs = arrays.iter().zip(texts);
    pairs.all(|(array, text)| key_array::fits(array, text))
}

/// Returns those topics that the arrays can hold, each with its day.
pub(super) fn fitting<'a>(
    arrays: &TopicArrays,
    topics: &'a [Key],
    days: &[LocalDay],
) -> (Vec<&'a Key>, Vec<LocalDay>) {
    let fits_all = |(topic, _): &(&Key, &LocalDay)| {
        fits(&arrays.keys, topic.parts()) && fits(&arrays.params, topic.params())
    };
    topics.iter().zip(days).filter(fits_all).unzip()
}

/// Returns the parameters of a statement for these topics: their key parts, their days, and their
/// choices of the stream's parameters.
pub(super) fn parameters<'a>(
    arrays: &TopicArrays,
    day_arrays: &[Type],
    topics: &[&'a Key],
    days: &[LocalDay],
) -> Vec<ArrayParameter<'a>> {
    let mut parameters = columns(&arrays.keys, topics, Key::parts);
    parameters.extend(day_parameters(day_arrays, days));
    parameters.extend(columns(&arrays.params, topics, Key::params));
    parameters
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
