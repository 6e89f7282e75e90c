// A Go program, linked statically: serves HTTP at the unix socket of its argument, each answer compressed by a goroutine, and
// ends with SIGTERM.
package main

import (
	"compress/gzip"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	listener, err := net.Listen("unix", os.Args[1])
	must(err)
	server := &http.Server{Handler: http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		answer.Header().Set("Content-Encoding", "gzip")
		done := make(chan error)
		go func() {
			body := gzip.NewWriter(answer)
			fmt.Fprint(body, strings.Repeat(request.URL.RawQuery+"\n", 20000))
			done <- body.Close()
		}()
		must(<-done)
	})}
	go server.Serve(listener)
	<-end
	must(server.Shutdown(context.Background()))
	fmt.Println("ended")
}
