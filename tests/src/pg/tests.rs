use super::*;

/// psql's status and words, as `user`.
fn try_as(cluster: &Cluster, user: &str, sslmode: &str) -> Result<String> {
    let ca = cluster.ca_file();
    let to = format!(
        "host={NAME} hostaddr={} port={PORT} dbname={DATABASE} user={user} password={PASSWORD} \
         sslmode={sslmode} sslrootcert={}",
        cluster.address().ip(),
        ca.display()
    );
    Program::new(parts::on_path("psql")?)
        .args(["-X", "-A", "-t", "-d", &to, "-c", "select 41+1"])
        .output()
}

#[test]
fn clusters_of_both_versions_ask_every_role_in_its_own_way() {
    let clusters = Cluster::start_all(&Version::ALL).unwrap();
    for cluster in &clusters {
        let version = cluster.version();
        for user in [SERVICE, "by_trust", "by_cleartext", "by_md5", "by_tls_only"] {
            assert_eq!(
                try_as(cluster, user, "verify-full").unwrap(),
                "42\n",
                "{version:?} {user}"
            );
        }
        assert_eq!(
            try_as(cluster, "by_md5", "disable").unwrap(),
            "42\n",
            "{version:?}"
        );
        assert!(
            try_as(cluster, "by_tls_only", "disable").is_err(),
            "{version:?}"
        );
        assert!(
            try_as(cluster, "by_nobody", "prefer").is_err(),
            "{version:?}"
        );
        let number = cluster.sql("postgres", "show server_version_num").unwrap();
        assert!(number.starts_with(&version.name()[2..]), "{number}");
    }
    let places: Vec<PathBuf> = clusters
        .iter()
        .map(|cluster| cluster.place.path().to_path_buf())
        .collect();
    drop(clusters);
    assert!(places.iter().all(|place| !place.exists()));
}
