//! Three babies of one birth, and a person who tells them apart one pair at a time.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_of_one_birth_the_question_stays_open_until_a_person_has_told_all_of_them_apart() {
    let mut site = Site::new().await;
    for id in ["T1", "T2", "T3"] {
        site.file(&format!("{MULTI} mrn={id} mother=M1")).await;
    }
    assert_eq!(site.items(), ["possible-match 2", "possible-match 3"]);
    let [one, two, three] = [1, 2, 3].map(|seq| site.child_of(Seq(seq)));
    let effect = site.decide(DeskAct::Apart { one: two, other: one }).await.unwrap();
    assert!(effect.text.iter().any(|line| line.contains("1 stay open")), "{effect:?}");
    assert_eq!(site.items(), ["possible-match 2", "possible-match 3"], "nobody has looked at the third");
    site.decide(DeskAct::Apart { one: three, other: two }).await.unwrap();
    assert_eq!(site.items(), ["possible-match 3"], "the third may be the first");
    site.decide(DeskAct::Apart { one: three, other: one }).await.unwrap();
    assert!(site.items().is_empty());
}
