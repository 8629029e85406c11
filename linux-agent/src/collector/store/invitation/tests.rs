use super::*;

fn connection() -> (tempfile::TempDir, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let connection = open::open(&folder.path().join("reports.db"), BUSY_TIMEOUT).unwrap();
    (folder, connection)
}

fn host(id: &str) -> Invited {
    Invited::Host(ClientName::from_text(id))
}

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

#[test]
fn a_code_has_100_bits_and_survives_a_persons_hand() {
    let (code, digest) = new_code().unwrap();
    assert!(digest_of(&code).unwrap().matches(&digest));
    let groups: Vec<&str> = code.split('-').collect();
    assert!(
        groups.len() == 4 && groups.iter().all(|group| group.len() == 5),
        "{code}"
    );
    assert_ne!(code, new_code().unwrap().0);
    let kept = digest_of("0123456789ABCDEFGHJK").unwrap();
    for typed in [
        "01234-56789-ABCDE-FGHJK",
        "oi234 56789abcdefghjk",
        " OL23456789-abcdefghjK ",
    ] {
        assert!(digest_of(typed).unwrap().matches(&kept), "{typed}");
    }
    for wrong in [
        "",
        "0123456789ABCDEFGHJ",
        "0123456789ABCDEFGHJKM",
        "0123456789ABCDEFGHJU",
        "é",
    ] {
        assert!(digest_of(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn a_code_is_good_until_it_expires_and_once() {
    let (_folder, connection) = connection();
    let (code, token) = (digest("code"), digest("token"));
    let redeem = |now, is_host| {
        redeem(
            &connection,
            (&code, &token),
            None,
            now,
            |_| is_host,
            |_| true,
            |_| false,
        )
        .unwrap()
    };
    open_code(&connection, &host("7"), &code, 0, 1000).unwrap();
    assert_eq!(redeem(1000, true), Redeemed::Nothing);
    assert_eq!(redeem(999, false), Redeemed::NoHost(ClientName::Number(7)));
    assert_eq!(redeem(999, true), Redeemed::By(ClientName::Number(7)));
    assert_eq!(redeem(999, true), Redeemed::Nothing);
    let kept = tokens(&connection).unwrap();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].1.as_ref().unwrap().matches(&token));
}

#[test]
fn codes_and_tokens_of_a_host_are_bounded_and_the_newest_stay() {
    let (_folder, connection) = connection();
    let count = |table: &str| -> u32 {
        let sql = format!("SELECT count(*) FROM {table}");
        connection.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    open_code(&connection, &host("other"), &digest("other"), 0, 10).unwrap();
    for n in 0..9 {
        open_code(&connection, &host("1"), &digest(&n.to_string()), 0, 10).unwrap();
    }
    assert_eq!(count("invitations"), MAX_PER_HOST + 1);
    assert_eq!(
        redeem(
            &connection,
            (&digest("4"), &digest("t")),
            None,
            5,
            |_| true,
            |_| true,
            |_| false
        )
        .unwrap(),
        Redeemed::Nothing
    );
    for n in 0..9 {
        let code = digest(&format!("again {n}"));
        open_code(&connection, &host("1"), &code, 5, 10).unwrap();
        let token = digest(&format!("token {n}"));
        let redeemed = redeem(
            &connection,
            (&code, &token),
            None,
            5,
            |_| true,
            |_| true,
            |_| false,
        )
        .unwrap();
        assert_eq!(redeemed, Redeemed::By(ClientName::Number(1)));
    }
    let kept = tokens(&connection).unwrap();
    assert_eq!(kept.len(), 4);
    for (n, (_, token)) in (5..9).zip(kept) {
        let expected = digest(&format!("token {n}"));
        assert!(token.unwrap().matches(&expected), "{n}");
    }
    // Those that have expired go with the next.
    open_code(&connection, &host("2"), &digest("late"), 10, 20).unwrap();
    assert_eq!(count("invitations"), 1);
}

#[test]
fn a_code_for_a_group_is_good_so_many_times_and_for_nobody_who_is_there() {
    let (_folder, connection) = connection();
    let code = digest("code");
    let group = "servers".to_owned();
    let fleet_of_two = Invited::Fleet { group, times: 2 };
    open_code(&connection, &fleet_of_two, &code, 0, 1000).unwrap();
    let client = ClientName::from_text;
    let redeem = |claimed: Option<&str>, is_group| {
        let token = digest(claimed.unwrap_or_default());
        let claimed = claimed.map(client);
        let is_host = |it: &ClientName| *it == client("web");
        let pair = (&code, &token);
        redeem(
            &connection,
            pair,
            claimed.as_ref(),
            5,
            is_host,
            is_host,
            |it| is_group && it == "servers",
        )
        .unwrap()
    };
    assert_eq!(redeem(None, true), Redeemed::NoName);
    assert_eq!(
        redeem(Some("a"), false),
        Redeemed::NoGroup("servers".to_owned())
    );
    assert_eq!(redeem(Some("web"), true), Redeemed::Taken(client("web")));
    assert_eq!(redeem(Some("a"), true), Redeemed::By(client("a")));
    assert_eq!(redeem(Some("a"), true), Redeemed::Taken(client("a")));
    assert_eq!(redeem(Some("7"), true), Redeemed::By(client("7")));
    assert_eq!(redeem(Some("b"), true), Redeemed::Nothing);
    let hosts = fleet::read(&connection).unwrap();
    let mut names: Vec<String> = hosts
        .iter()
        .map(|(id, group)| format!("{id} {group}"))
        .collect();
    names.sort();
    assert_eq!(names, ["7 servers", "a servers"]);
    assert_eq!(tokens(&connection).unwrap().len(), 2);
}
