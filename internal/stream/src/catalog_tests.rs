use super::*;

fn stream(name: &str, query: &str) -> Stream {
    Stream {
        query: query.to_owned(),
        ..Stream::test_stream(name, Some(KeyType::Text))
    }
}

fn add(catalog: &Catalog, stream: Stream) -> StreamId {
    let added = catalog.append([(Arc::new(stream), StreamStatus::default())]);
    added.unwrap()[0]
}

#[test]
fn replaced_stream_keeps_its_id_and_is_not_found() {
    let catalog = Catalog::new(vec![stream("a", "1"), stream("b", "1")]);
    let (old, kept) = (catalog.find("a").unwrap(), catalog.find("b").unwrap());
    let new = add(&catalog, stream("a", "2"));
    assert_eq!(catalog.find("a"), Some(old), "not listed yet");
    assert_eq!(catalog.get(new).query, "2");
    catalog.list(vec![kept, new]);
    assert_eq!(catalog.find("a"), Some(new));
    assert_eq!(catalog.resolve("a:x").unwrap().topic.stream, new);
    assert_eq!(catalog.get(old).query, "1", "for reads under way");
    let retired = [old, kept, new].map(|id| catalog.is_retired(id));
    assert_eq!(retired, [true, false, false]);
    let ids: Vec<_> = catalog.iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [kept, new]);
    catalog.list(vec![kept]);
    assert!(catalog.find("a").is_none() && catalog.is_retired(new));
    assert_eq!(
        catalog.resolve("a:x").unwrap_err().to_string(),
        "no such channel; expected b:<key>"
    );
    assert_eq!(catalog.filtered(|_| true).id_count(), 1);
}

#[test]
fn stream_that_is_off_is_no_suggestion() {
    let catalog = Catalog::new(vec![stream("a", "1"), stream("b", "1")]);
    let error = || catalog.resolve("nowhere:x").unwrap_err().to_string();
    let turn_off = |name| {
        let problem = crate::StreamProblem {
            summary: String::new(),
            detail: String::new(),
        };
        let id = catalog.find(name).unwrap();
        catalog.status(id).set_off(problem);
    };
    assert_eq!(error(), "no such channel; expected a:<key> or b:<key>");
    turn_off("a");
    assert_eq!(error(), "no such channel; expected b:<key>");
    turn_off("b");
    let none = "no such channel; expected none: the server has no stream now";
    assert_eq!(error(), none);
}

#[test]
fn any_channel_of_a_stream_without_known_keys_waits() {
    let problem = crate::StreamProblem {
        summary: String::new(),
        detail: String::new(),
    };
    let unknown = Stream {
        key_fields: Vec::new(),
        inference: crate::Inference {
            keys: true,
            gap: Some(crate::InferenceGap::Keys(problem)),
            ..crate::Inference::default()
        },
        ..stream("a", "1")
    };
    let catalog = Catalog::new(vec![unknown, stream("b", "1")]);
    for channel in ["a", "a:x", "a:x/y", "a?p=1"] {
        let error = catalog.resolve(channel).unwrap_err();
        assert_eq!(error, ChannelError::Broken, "{channel}");
    }
    assert_eq!(
        catalog.resolve("nowhere:x").unwrap_err().to_string(),
        "no such channel; expected b:<key>"
    );
}

#[test]
fn ids_are_never_used_again_and_end() {
    let catalog = Catalog::new(Vec::new());
    let shared = Arc::new(stream("a", "1"));
    for _ in 0..CatalogSlots::CAPACITY {
        let next = [(Arc::clone(&shared), StreamStatus::default())];
        let ids = catalog.append(next).unwrap();
        assert_ne!(ids, [SYSTEM_STREAM]);
    }
    let next = [(shared, StreamStatus::default())];
    assert_eq!(catalog.append(next), Err(CatalogFull));
    assert_eq!(catalog.id_count(), 65_535);
}

#[test]
fn definitions_differ_by_what_the_configuration_says() {
    let inferred = |fields: &[&str]| Stream {
        key_fields: fields.iter().map(|&field| field.to_owned()).collect(),
        inference: crate::Inference {
            keys: true,
            ..crate::Inference::default()
        },
        ..stream("a", "1")
    };
    assert!(stream("a", "1").is_defined_like(&stream("a", "1")));
    assert!(!stream("a", "1").is_defined_like(&stream("a", "2")));
    assert!(!stream("a", "1").is_declared_like(&inferred(&["negocio_id"])));
    assert!(inferred(&["x"]).is_declared_like(&inferred(&["y"])));
    assert!(!inferred(&["x"]).is_defined_like(&inferred(&["y"])));
}
