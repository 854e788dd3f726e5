//! Pages in the form of dcgm-exporter's, and servers of them.

use super::*;
use crate::resource::fixture::value;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

/// Two GPUs, one given to a pod; with a value that DCGM does not know.
const PAGE: &str = r#"# HELP DCGM_FI_DEV_SM_CLOCK SM clock frequency (in MHz).
# TYPE DCGM_FI_DEV_SM_CLOCK gauge
DCGM_FI_DEV_SM_CLOCK{gpu="0",UUID="GPU-a",pci_bus_id="00000000:17:00.0",device="nvidia0",modelName="NVIDIA L4",Hostname="node-1",container="vllm",namespace="llm",pod="vllm-0"} 2040
DCGM_FI_DEV_SM_CLOCK{gpu="1",UUID="GPU-b",pci_bus_id="00000000:65:00.0",device="nvidia1",modelName="NVIDIA L4",Hostname="node-1",container="",namespace="",pod=""} 210
# TYPE DCGM_FI_DEV_MEM_CLOCK gauge
DCGM_FI_DEV_MEM_CLOCK{gpu="0",UUID="GPU-a",modelName="NVIDIA L4",namespace="llm",pod="vllm-0"} 6250
# TYPE DCGM_FI_DEV_GPU_TEMP gauge
DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-a",modelName="NVIDIA L4",namespace="llm",pod="vllm-0"} 61
# TYPE DCGM_FI_DEV_POWER_USAGE gauge
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-a",modelName="NVIDIA L4",namespace="llm",pod="vllm-0"} 71.25
DCGM_FI_DEV_POWER_USAGE{gpu="1",UUID="GPU-b",modelName="NVIDIA L4",namespace="",pod=""} 140737488355328
# TYPE DCGM_FI_DEV_ENFORCED_POWER_LIMIT gauge
DCGM_FI_DEV_ENFORCED_POWER_LIMIT{gpu="0",UUID="GPU-a",modelName="NVIDIA L4",namespace="llm",pod="vllm-0"} 72
# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="0",UUID="GPU-a",modelName="NVIDIA L4",namespace="llm",pod="vllm-0"} 281474976710656
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="1",UUID="GPU-b",modelName="NVIDIA L4",namespace="",pod=""} 9223372036854775794
# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-a",modelName="NVIDIA L4",namespace="llm",pod="vllm-0"} 37
DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-b",modelName="NVIDIA L4",namespace="",pod=""} 0
# TYPE DCGM_FI_DEV_MEM_COPY_UTIL gauge
DCGM_FI_DEV_MEM_COPY_UTIL{gpu="0",UUID="GPU-a",modelName="NVIDIA L4",namespace="llm",pod="vllm-0"} 12
# TYPE DCGM_FI_DEV_FB_FREE gauge
DCGM_FI_DEV_FB_FREE{gpu="0",UUID="GPU-a",modelName="NVIDIA L4",namespace="llm",pod="vllm-0"} 2048
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a",modelName="NVIDIA L4",namespace="llm",pod="vllm-0"} 20480
DCGM_FI_DEV_FB_RESERVED{gpu="0",UUID="GPU-a",modelName="NVIDIA L4",namespace="llm",pod="vllm-0"} 512
DCGM_FI_DEV_FB_USED{gpu="1",UUID="GPU-b",modelName="NVIDIA L4",namespace="",pod=""} 1
DCGM_FI_DEV_FB_FREE{gpu="1",UUID="GPU-b",modelName="NVIDIA L4",namespace="",pod=""} 23027
# TYPE DCGM_FI_DEV_CLOCKS_EVENT_REASONS gauge
DCGM_FI_DEV_CLOCKS_EVENT_REASONS{gpu="0",UUID="GPU-a",modelName="NVIDIA L4",namespace="llm",pod="vllm-0"} 4
DCGM_FI_DEV_ECC_SBE_VOL_TOTAL{gpu="0",UUID="GPU-a",modelName="NVIDIA L4",namespace="llm",pod="vllm-0"} 3
DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{gpu="0",UUID="GPU-a",modelName="NVIDIA L4",namespace="llm",pod="vllm-0"} 0
DCGM_FI_DEV_XID_ERRORS{gpu="0",UUID="GPU-a",modelName="NVIDIA L4",namespace="llm",pod="vllm-0"} 0
DCGM_FI_PROF_GR_ENGINE_ACTIVE{gpu="0",UUID="GPU-a",modelName="NVIDIA L4",namespace="llm",pod="vllm-0"} 0.4
"#;

/// A GPU that is cut up: every field comes instance by instance.
const CUT: &str = r#"DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-a",modelName="NVIDIA A100",GPU_I_PROFILE="1g.5gb",GPU_I_ID="7"} 80
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-a",modelName="NVIDIA A100",GPU_I_PROFILE="2g.10gb",GPU_I_ID="3"} 80
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a",modelName="NVIDIA A100",GPU_I_PROFILE="1g.5gb",GPU_I_ID="7"} 4
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a",modelName="NVIDIA A100",GPU_I_PROFILE="2g.10gb",GPU_I_ID="3"} 9
"#;

fn settings(gpus: &[&str], pod: Option<(&str, bool)>) -> DcgmSettings {
    DcgmSettings {
        endpoint: Endpoint::parse("http://127.0.0.1:9400").unwrap(),
        gpus: gpus.iter().map(|gpu| (*gpu).to_owned()).collect(),
        pod: pod.map(|(name, required)| PodFilter {
            namespace: None,
            name: name.to_owned(),
            required,
        }),
    }
}

fn read(page: &str, settings: &DcgmSettings) -> Result<Vec<Reading>, SampleError> {
    select(&Exposition::parse(page).unwrap(), settings)
}

fn uuids(readings: &[Reading]) -> Vec<&str> {
    let mut uuids: Vec<&str> = readings
        .iter()
        .map(|reading| reading.labels[1].1.as_str())
        .collect();
    uuids.dedup();
    uuids
}

#[test]
fn values_come_in_base_units_with_dcgm_as_their_source() {
    let readings = read(PAGE, &settings(&["0"], None)).unwrap();
    let expected = [
        ("llm_gpu_utilization_ratio", "dcgm", 0.37),
        ("llm_gpu_memory_utilization_ratio", "dcgm", 0.12),
        ("llm_gpu_memory_used_bytes", "dcgm", 21_474_836_480.0),
        ("llm_gpu_memory_total_bytes", "dcgm", 24_159_191_040.0),
        ("llm_gpu_power_watts", "dcgm", 71.25),
        ("llm_gpu_power_limit_watts", "dcgm", 72.0),
        ("llm_gpu_energy_joules_total", "dcgm", 281_474_976_710.656),
        ("llm_gpu_temperature_celsius", "dcgm", 61.0),
        ("llm_gpu_clock_hertz", "sm", 2.04e9),
        ("llm_gpu_clock_hertz", "memory", 6.25e9),
        ("llm_gpu_throttle_reason", "sw_power_cap", 1.0),
        ("llm_gpu_throttle_reason", "hw_slowdown", 0.0),
        ("llm_gpu_ecc_errors_total", "corrected", 3.0),
        ("llm_gpu_ecc_errors_total", "uncorrected", 0.0),
    ];
    for (family, label, expected) in expected {
        assert_eq!(value(&readings, family, label), Some(expected), "{family}");
    }
    let labels: Vec<&str> = readings[0].labels.iter().map(|(_, v)| v.as_str()).collect();
    assert_eq!(labels, ["0", "GPU-a", "NVIDIA L4", "dcgm"]);
}

#[test]
fn what_dcgm_does_not_know_is_absent() {
    let readings = read(PAGE, &settings(&["GPU-b"], None)).unwrap();
    assert_eq!(value(&readings, "llm_gpu_utilization_ratio", ""), Some(0.0));
    for family in [
        "llm_gpu_power_watts",
        "llm_gpu_energy_joules_total",
        "llm_gpu_throttle_reason",
        // Its reserve is not told.
        "llm_gpu_memory_total_bytes",
    ] {
        assert_eq!(value(&readings, family, ""), None, "{family}");
    }
}

#[test]
fn only_the_gpus_of_the_pod_are_ours_where_pods_are_named() {
    let ours = settings(&[], Some(("vllm-0", false)));
    assert_eq!(uuids(&read(PAGE, &ours).unwrap()), ["GPU-a"]);
    let mut elsewhere = ours.clone();
    let pod = elsewhere.pod.as_mut().unwrap();
    pod.namespace = Some("other".to_owned());
    let error = read(PAGE, &elsewhere).unwrap_err();
    let reason = "dcgm-exporter shows no gpu of pod `vllm-0`".to_owned();
    assert_eq!(error, SampleError::Unsupported(reason.clone()));
    let asked_for = settings(&[], Some(("vllm-1", true)));
    let error = read(PAGE, &asked_for).unwrap_err();
    assert_eq!(error, SampleError::Failed(reason.replace("-0", "-1")));
}

#[test]
fn where_no_pods_are_named_our_guess_means_nothing_and_a_wish_is_refused() {
    let bare = "DCGM_FI_DEV_GPU_UTIL{gpu=\"0\", UUID=\"GPU-a\",pod=\"\"} 5\n";
    let guessed = settings(&[], Some(("vllm-0", false)));
    assert_eq!(read(bare, &guessed).unwrap().len(), 1);
    let error = read(bare, &settings(&[], Some(("vllm-0", true)))).unwrap_err();
    let problem = "dcgm-exporter names no pods; start it with `--kubernetes`".to_owned();
    assert_eq!(error, SampleError::Failed(problem));
}

#[test]
fn a_listed_gpu_that_is_not_there_is_a_failure_and_leaves_the_others() {
    let answer = read(PAGE, &settings(&["1", "GPU-c"], None));
    let Err(SampleError::Partial { readings, problem }) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(uuids(&readings), ["GPU-b"]);
    assert_eq!(problem, "dcgm-exporter shows no gpu `GPU-c`");
    let answer = read(PAGE, &settings(&["GPU"], None));
    assert!(matches!(answer, Err(SampleError::Failed(_))), "{answer:?}");
}

#[test]
fn instances_have_their_memory_and_the_gpu_its_power_once() {
    let readings = read(CUT, &settings(&["GPU-a"], None)).unwrap();
    let found: Vec<_> = readings
        .iter()
        .map(|reading| {
            let labels: Vec<_> = reading.labels.iter().map(|(_, v)| v.as_str()).collect();
            (reading.family, labels[..3].join(" "), reading.value)
        })
        .collect();
    let power = ("llm_gpu_power_watts", "0 GPU-a NVIDIA A100", 80.0);
    let memory = "llm_gpu_memory_used_bytes";
    let small = (
        memory,
        "0:7 MIG-GPU-a/7 NVIDIA A100 MIG 1g.5gb",
        4.0 * MEBIBYTE,
    );
    let large = (
        memory,
        "0:3 MIG-GPU-a/3 NVIDIA A100 MIG 2g.10gb",
        9.0 * MEBIBYTE,
    );
    let expected = [power, small, large];
    let expected = expected.map(|(family, labels, value)| (family, labels.to_owned(), value));
    assert_eq!(found, expected);
}

#[test]
fn a_gpu_that_pods_share_is_there_once() {
    let shared = "DCGM_FI_DEV_POWER_USAGE{gpu=\"0\",UUID=\"GPU-a\",pod=\"a\"} 80\n\
                  DCGM_FI_DEV_POWER_USAGE{gpu=\"0\",UUID=\"GPU-a\",pod=\"b\"} 80\n";
    assert_eq!(read(shared, &settings(&["0"], None)).unwrap().len(), 1);
}

#[test]
fn another_daemons_page_is_a_failure() {
    let answer = read("node_load1 0.5\n", &settings(&[], None));
    assert!(matches!(answer, Err(SampleError::Failed(_))));
}

/// Answers one request after another with these bytes, and says what was asked.
fn server(answers: Vec<String>) -> (u16, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            tell.send(String::from_utf8(request).unwrap()).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (port, asked)
}

fn dcgm(url: &str) -> Dcgm {
    let mut dcgm = settings(&[], None);
    dcgm.endpoint = Endpoint::parse(url).unwrap();
    Dcgm::new(&ResourceSettings {
        dcgm: Some(dcgm),
        ..ResourceSettings::default()
    })
}

#[test]
fn a_page_is_scraped_as_text_and_a_failure_leaves_nothing_behind() {
    let length = PAGE.len();
    let good = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{PAGE}");
    let busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_owned();
    let cut = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{PAGE}",
        length + 1
    );
    let page = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>".to_owned();
    let (port, asked) = server(vec![good.clone(), busy, cut, page, good]);
    let mut dcgm = dcgm(&format!("http://127.0.0.1:{port}"));
    let all = dcgm.sample().unwrap();
    assert_eq!(uuids(&all), ["GPU-a", "GPU-b"]);
    let request = asked.recv().unwrap();
    assert!(
        request.starts_with("GET /metrics HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains("accept: text/plain;version=0.0.4\r\n"),
        "{request}"
    );
    let at = format!("dcgm-exporter at `http://127.0.0.1:{port}`: ");
    for problem in ["it answered `503 Service Unavailable`", "", "line 1: "] {
        let Err(SampleError::Failed(found)) = dcgm.sample() else {
            panic!("a bad answer was believed");
        };
        assert!(found.starts_with(&format!("{at}{problem}")), "{found}");
    }
    assert_eq!(dcgm.sample().unwrap(), all);
    let Err(SampleError::Failed(found)) = dcgm.sample() else {
        panic!("nobody listens any more");
    };
    assert!(found.starts_with(&at), "{found}");
}

#[test]
fn an_own_path_of_the_url_is_kept() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned();
    let (port, asked) = server(vec![answer]);
    let sampled = dcgm(&format!("http://127.0.0.1:{port}/node/metrics")).sample();
    assert!(
        matches!(sampled, Err(SampleError::Failed(_))),
        "no gpu in it"
    );
    assert!(
        asked
            .recv()
            .unwrap()
            .starts_with("GET /node/metrics HTTP/1.1\r\n")
    );
}

#[test]
fn without_a_url_it_is_unsupported() {
    let sampled = Dcgm::new(&ResourceSettings::default()).sample();
    assert!(matches!(sampled, Err(SampleError::Unsupported(_))));
}
