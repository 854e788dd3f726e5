// Writes tests/golden/proxies.jsonl: which proxy Go's own http.ProxyFromEnvironment chooses, one line per
// environment. Go reads it once per process, so each line comes from a process of its own.
//
//	go run tests/oracle/proxy_oracle.go > tests/golden/proxies.jsonl
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
)

var urls = []string{
	"http://example.com", "https://example.com", "https://example.com:8443", "http://example.com:80",
	"https://api.example.com", "https://a.b.example.com:8443", "https://notexample.com", "https://EXAMPLE.com",
	"http://localhost:11434", "http://127.0.0.1:11434", "http://127.8.9.1", "http://[::1]:8000", "http://sub.localhost",
	"http://10.1.2.3", "http://10.1.2.3:8080", "https://10.200.0.1", "http://192.168.1.1", "https://[fd00::5]:8443",
	"https://[2001:db8::1]", "http://gateway", "http://gateway.internal:3000",
}

var lists = []string{
	"", "*", "example.com", ".example.com", "*.example.com", "example.com:8443", ".example.com:8443",
	"example.com:443", "EXAMPLE.COM", " example.com , gateway ", "10.0.0.0/8", "10.1.2.3", "10.1.2.3:8080",
	"10.1.2.3:80", "fd00::/8", "fd00::5", "[fd00::5]:8443", "[fd00::5]:443", "2001:db8::1", "com", "internal",
	"gateway.internal:3000", "a,*", ",", ":80", "10.0.0.0/40", "0.0.0.0/0", "::/0", "x.example.com", "ple.com",
	"localhost", "[2001:db8::1]",
}

func environments() []map[string]string {
	var all []map[string]string
	for _, list := range lists {
		all = append(all, map[string]string{
			"HTTP_PROXY": "http://plain:3128", "HTTPS_PROXY": "http://secure:3129", "NO_PROXY": list,
		})
	}
	return append(all,
		map[string]string{},
		map[string]string{"HTTP_PROXY": "http://plain:3128"},
		map[string]string{"HTTPS_PROXY": "secure:3129"},
		map[string]string{"http_proxy": "http://lower:3128", "https_proxy": "http://lower:3129", "no_proxy": "example.com"},
		map[string]string{"HTTP_PROXY": "http://upper:1", "http_proxy": "http://lower:2"},
		map[string]string{"HTTP_PROXY": "", "http_proxy": "http://lower:2", "NO_PROXY": "", "no_proxy": "gateway"},
		map[string]string{"HTTPS_PROXY": "http://user:secret@secure:3129"},
	)
}

func main() {
	if len(os.Args) > 1 {
		proxies := map[string]string{}
		for _, url := range urls {
			request, err := http.NewRequest("GET", url, nil)
			if err != nil {
				panic(err)
			}
			proxy, err := http.ProxyFromEnvironment(request)
			if err != nil {
				panic(err)
			}
			proxies[url] = ""
			if proxy != nil {
				proxies[url] = "http://" + proxy.Host
			}
		}
		json.NewEncoder(os.Stdout).Encode(proxies)
		return
	}
	for _, environment := range environments() {
		child := exec.Command(os.Args[0], "child")
		child.Env = []string{}
		for name, value := range environment {
			child.Env = append(child.Env, name+"="+value)
		}
		child.Stderr = os.Stderr
		out, err := child.Output()
		if err != nil {
			panic(err)
		}
		told, _ := json.Marshal(environment)
		fmt.Printf("{\"env\":%s,\"proxies\":%s}\n", told, string(out[:len(out)-1]))
	}
}
