// bench-app with Go's net/http/fcgi: go build -o bench main.go
package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"os"
)

func main() {
	big := bytes.Repeat([]byte("abcdefghijklmnopqrstuvwxyz"), (10<<20)/26+1)[:10<<20]
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
			out.Write(big)
		default:
			io.WriteString(out, "Hello, World!")
		}
	})))
}
