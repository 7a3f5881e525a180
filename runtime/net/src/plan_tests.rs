use super::*;

fn spec(subnets: &[&str], gateways: &[&str], ranges: &[&str], options: &[&str]) -> NetworkSpec {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    NetworkSpec {
        name: "a".to_owned(),
        subnets: texts(subnets),
        gateways: texts(gateways),
        ip_ranges: texts(ranges),
        options: options
            .iter()
            .map(|text| text.split_once('=').unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        ..NetworkSpec::default()
    }
}

#[test]
fn names() {
    for text in ["a", "0", "a_b.c-d", "Net1", "defaults"] {
        assert!(name(text).is_ok(), "{text}");
    }
    let long = "a".repeat(256);
    for text in [
        "",
        "-a",
        ".a",
        "a b",
        "a/b",
        "../x",
        "ä",
        "none",
        "host",
        "container",
        "default",
        &long,
    ] {
        assert!(name(text).is_err(), "{text}");
    }
}

#[test]
fn subnets_gateways_and_ranges_find_each_other() {
    let plan = plan(&spec(
        &["fd01::/64", "10.1.0.0/16"],
        &["10.1.0.254", "fd01::7"],
        &["10.1.5.0/24"],
        &["mtu=1400", "isolate=false"],
    ))
    .unwrap();
    let v4 = plan.v4.unwrap();
    assert_eq!(v4.gateway.to_string(), "10.1.0.254");
    assert_eq!(v4.gateway_net().to_string(), "10.1.0.254/16");
    assert_eq!(v4.ip_range.unwrap().to_string(), "10.1.5.0/24");
    let v6 = plan.v6.unwrap();
    assert_eq!(v6.gateway.to_string(), "fd01::7");
    assert_eq!(v6.ip_range, None);
    assert!(plan.ipv6, "an IPv6 subnet says so");
    assert_eq!((plan.mtu, plan.isolate), (Some(1400), false));
}

#[test]
fn defaults() {
    let empty = plan(&NetworkSpec::default()).unwrap();
    assert_eq!((empty.v4, empty.v6, empty.ipv6), (None, None, false));
    assert_eq!((empty.mtu, empty.isolate), (None, true));
    let one = plan(&spec(&["10.1.0.0/24"], &[], &[], &[])).unwrap();
    assert_eq!(one.v4.unwrap().gateway.to_string(), "10.1.0.1");
}

#[test]
fn what_can_not_be_is_refused_with_its_reason() {
    for (subnets, gateways, ranges, options, expected) in [
        (
            &["10.1.0/24"][..],
            &[][..],
            &[][..],
            &[][..],
            "is no subnet",
        ),
        (&["10.1.0.5/24"], &[], &[], &[], "has bits after its prefix"),
        (&["10.1.0.0/31"], &[], &[], &[], "is too small"),
        (&["10.0.0.0/7"], &[], &[], &[], "is too large"),
        (&["127.0.0.0/8"], &[], &[], &[], "can't be given"),
        (&["224.0.0.0/24"], &[], &[], &[], "can't be given"),
        (&["fe80::/64"], &[], &[], &[], "can't be given"),
        (
            &["10.1.0.0/24", "10.2.0.0/24"],
            &[],
            &[],
            &[],
            "one subnet per family, not 10.1.0.0/24 and 10.2.0.0/24",
        ),
        (&[], &["10.1.0.1"], &[], &[], "needs a --subnet"),
        (&[], &[], &["10.1.0.0/25"], &[], "needs a --subnet"),
        (&["10.1.0.0/24"], &["10.2.0.1"], &[], &[], "is in no subnet"),
        (&["10.1.0.0/24"], &["10.1.0.0"], &[], &[], "is in no subnet"),
        (
            &["10.1.0.0/24"],
            &["10.1.0.255"],
            &[],
            &[],
            "is in no subnet",
        ),
        (
            &["10.1.0.0/24"],
            &["x"],
            &[],
            &[],
            "is no address of a gateway",
        ),
        (
            &["10.1.0.0/24"],
            &["10.1.0.1", "10.1.0.2"],
            &[],
            &[],
            "has a second gateway",
        ),
        (
            &["10.1.0.0/24"],
            &[],
            &["10.1.0.0/23"],
            &[],
            "is in no subnet",
        ),
        (&["10.1.0.0/24"], &[], &["10.1.0.0"], &[], "is no range"),
        (&[], &[], &[], &["mtu=67"], "not between 68 and 65535"),
        (&["fd01::/64"], &[], &[], &["mtu=1279"], "not between 1280"),
        (&[], &[], &[], &["mtu=x"], "mtu=x"),
        (&[], &[], &[], &["isolate=2"], "not true or false"),
        (&[], &[], &[], &["colour=red"], "no option \"colour\""),
    ] {
        let error = plan(&spec(subnets, gateways, ranges, options)).unwrap_err();
        assert!(error.message.contains(expected), "{error} / {expected}");
    }
    let other = NetworkSpec {
        driver: Some("macvlan".to_owned()),
        ..NetworkSpec::default()
    };
    assert!(plan(&other).is_err());
}
