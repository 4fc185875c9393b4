// bench-app with Go's net/http/fcgi. examples/bench/run builds it.
package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"os"
	"sync"
)

func main() {
	var big []byte
	var once sync.Once
	listener, err := net.FileListener(os.Stdin)
	if err != nil {
		panic(err)
	}
	panic(fcgi.Serve(listener, http.HandlerFunc(func(out http.ResponseWriter, request *http.Request) {
		for name, values := range request.Header {
			_, _ = name, values
		}
		switch request.URL.Path {
		case "/echo":
			io.Copy(out, request.Body)
		case "/big":
			once.Do(func() { big = bytes.Repeat([]byte("abcdefghijklmnopqrstuvwxyz"), (10<<20)/26+1)[:10<<20] })
			out.Write(big)
		default:
			io.WriteString(out, "Hello, World!")
		}
	})))
}
