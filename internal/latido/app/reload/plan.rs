//! The difference between the streams that are served and those of another configuration.

use latido_admin::ReloadReport;
use latido_base::ident::StreamId;
use latido_stream::{Catalog, Stream};

/// The streams to serve, in the order of the configuration.
#[derive(Debug, Default)]
pub(super) struct ReloadPlan {
    listed: Vec<Listed>,
    /// The streams that are new, or have another definition.
    pub(super) new: Vec<Stream>,
    pub(super) report: ReloadReport,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    Kept(StreamId),
    /// The next one of the new streams.
    New,
}

impl ReloadPlan {
    /// Compares the streams of a configuration, which have distinct names, with those of the catalog.
    pub(super) fn new(catalog: &Catalog, streams: Vec<Stream>) -> Self {
        let mut plan = Self::default();
        let report = &mut plan.report;
        let is_removed = |name: &str| streams.iter().all(|stream| stream.name != name);
        let served = catalog.iter().map(|(_, stream)| stream.name.clone());
        report.removed = served.filter(|name| is_removed(name)).collect();
        for stream in streams {
            let name = stream.name.clone();
            match catalog.find(&name) {
                Some(id) if is_unchanged(catalog.get(id), &stream) => {
                    report.unchanged.push(name);
                    plan.listed.push(Listed::Kept(id));
                    continue;
                }
                Some(_) => report.changed.push(name),
                None => report.added.push(name),
            }
            plan.listed.push(Listed::New);
            plan.new.push(stream);
        }
        plan
    }

    /// Returns whether other streams are served than before.
    pub(super) fn has_changes(&self) -> bool {
        !self.new.is_empty() || !self.report.removed.is_empty()
    }

    /// Returns the ids of the streams to serve. `new` are those of the new streams.
    pub(super) fn listed(&self, new: Vec<StreamId>) -> Vec<StreamId> {
        let mut new = new.into_iter();
        let listed = self.listed.iter();
        let ids = listed.filter_map(|listed| match listed {
            Listed::Kept(id) => Some(*id),
            Listed::New => new.next(),
        });
        ids.collect()
    }
}

/// Returns whether a stream goes on as it is. What was once known about a query is not given up
/// because the database cannot tell it any more.
fn is_unchanged(served: &Stream, read: &Stream) -> bool {
    let (old, new) = (&served.inference, &read.inference);
    let knows_less =
        new.key_problem().is_some() || new.table_problem().is_some() && old.key_problem().is_none();
    served.is_declared_like(read) && (knows_less || served.is_defined_like(read))
}

#[cfg(test)]
mod tests {
    use super::*;
    use latido_stream::{Inference, InferenceGap, KeyType, StreamProblem};

    fn stream(name: &str, query: &str) -> Stream {
        Stream {
            query: query.to_owned(),
            ..Stream::test_stream(name, Some(KeyType::Integer))
        }
    }

    fn inferred(gap: Option<fn(StreamProblem) -> InferenceGap>) -> Stream {
        let problem = StreamProblem {
            summary: "?".to_owned(),
            detail: "?".to_owned(),
        };
        Stream {
            inference: Inference {
                keys: true,
                tables: true,
                file: None,
                gap: gap.map(|gap| gap(problem)),
            },
            ..stream("a", "1")
        }
    }

    #[test]
    fn streams_are_compared_by_name() {
        let served = ["a", "b", "c"].map(|name| stream(name, "1"));
        let catalog = Catalog::new(served.into());
        let read = vec![stream("d", "1"), stream("c", "1"), stream("a", "2")];
        let plan = ReloadPlan::new(&catalog, read);
        let ReloadReport {
            added,
            changed,
            removed,
            unchanged,
            ..
        } = &plan.report;
        assert_eq!(
            [added, changed, removed, unchanged].map(|names| names.concat()),
            ["d", "a", "b", "c"]
        );
        assert!(plan.has_changes());
        let ids = plan.listed(vec![StreamId(3), StreamId(4)]);
        assert_eq!(ids, [3, 2, 4].map(StreamId));
        let same = ["c", "a", "b"].map(|name| stream(name, "1"));
        assert!(!ReloadPlan::new(&catalog, same.into()).has_changes());
    }

    #[test]
    fn known_keys_and_tables_are_kept() {
        let (keys, tables) = (
            Some(InferenceGap::Keys as _),
            Some(InferenceGap::Tables as _),
        );
        for (old, new, is_kept) in [
            (None, None, true),
            (None, keys, true),
            (None, tables, true),
            (keys, keys, true),
            (keys, tables, false),
            (keys, None, false),
            (tables, None, false),
            (tables, keys, true),
        ] {
            assert_eq!(is_unchanged(&inferred(old), &inferred(new)), is_kept);
        }
    }
}
