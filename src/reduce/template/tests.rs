//! What is masked, and what every template holds to.

use proptest::prelude::*;

use super::*;

#[test]
fn variable_parts_are_masked_and_the_rest_stays() {
    for (body, template) in [
        ("", ""),
        ("  \n\n", ""),
        ("started", "started"),
        ("took 12.5 seconds", "took <*> seconds"),
        ("took 12ms, then 3 ms", "took <*>, then <*>"),
        ("used 3.1 GB of 16 GB", "used <*> of <*>"),
        ("status=503 method=GET", "status=<*> method=GET"),
        ("sessionid:0x14ed type:create", "sessionid:<*> type:create"),
        ("request deadbeefcafe failed", "request <*> failed"),
        ("a facade is no id", "a facade is no id"),
        (
            "order 9b2e4c1a-7f00-4d3e-8a55-0c1d2e3f4a5b rejected",
            "order <*> rejected",
        ),
        ("from 10.0.0.1:8080 (fe80::1)", "from <*> (<*>)"),
        ("cannot open /var/log/app.log", "cannot open <*>"),
        (r"cannot open C:\logs\app", "cannot open <*>"),
        ("read/write error", "read/write error"),
        ("mail to ann@example.com bounced", "mail to <*> bounced"),
        ("calling https://example.com/a?b=c now", "calling <*> now"),
        ("GET /search?q=tea&page=2 done", "GET <*> done"),
        ("connect to db.example.com:5432", "connect to <*>"),
        (
            "java.io.IOException: Broken pipe",
            "java.io.IOException: Broken pipe",
        ),
        (r#"user "ann" not found"#, "user <*> not found"),
        ("service 'web' up", "service <*> up"),
        ("can't open, won't try", "can't open, won't try"),
        (r#""GET /v1/items HTTP/1.1" 200"#, r#""GET <*>" <*>"#),
        (
            r#"level=info msg="tick 7 done""#,
            r#"level=info msg="tick <*> done""#,
        ),
        (
            r#"{"level":"error","msg":"no route","peer":"ann"}"#,
            r#"{"level":"error","msg":"no route","peer":<*>}"#,
        ),
        ("ids [1, 2, 3] of 4 5 6", "ids [<*>] of <*>"),
        ("since Mon Mar 2 10:00:00 2026", "since <*>"),
        ("failed: 3.", "failed: <*>."),
        ("first line 1\nat frame two", "first line <*>"),
        ("\u{1b}[31mERROR\u{1b}[0m boom", "ERROR boom"),
        ("unclosed \"quote", "unclosed \"quote"),
    ] {
        assert_eq!(mask(body), template, "{body}");
    }
}

#[test]
fn long_messages_are_cut_in_words_and_bytes() {
    let many = "word ".repeat(100);
    let template = mask(&many);
    assert_eq!(template, format!("{}…", ["word"; WORDS_MAX].join(" ")));
    let wide = "abcdefghij-klmnopqrst ".repeat(20);
    let template = mask(&wide);
    assert!(
        template.len() <= BYTES_MAX && template.ends_with(CUT),
        "{template}"
    );
    assert_eq!(mask(&"x".repeat(10_000)), WILDCARD);
    assert_eq!(mask(&"1 ".repeat(100_000)), WILDCARD);
}

proptest! {
    #[test]
    fn any_text_gives_one_bounded_line_without_digits(body in r#"[ -~µ…\n\t\x1b"'=:/]{0,400}"#) {
        let template = mask(&body);
        prop_assert!(template.len() <= BYTES_MAX);
        prop_assert!(!template.contains(|c: char| c.is_control() || c.is_ascii_digit()));
        prop_assert!(template.split(' ').count() <= WORDS_MAX);
    }

    #[test]
    fn another_number_gives_the_same_template(a in any::<u32>(), b in any::<u32>()) {
        let body = |n: u32| format!("worker {n} took {}.{n} s for \"job {n}\" at /jobs/{n}/run", n / 7);
        prop_assert_eq!(mask(&body(a)), mask(&body(b)));
    }
}
