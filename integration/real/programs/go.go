// A Go program, linked statically: goroutines on several threads, timers, files, TCP and HTTP on loopback, a child.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func goroutines() {
	numbers, squares := make(chan int), make(chan int)
	var workers sync.WaitGroup
	for range [16]struct{}{} {
		workers.Add(1)
		go func() {
			defer workers.Done()
			// A thread of its own for each, so that there are many.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for n := range numbers {
				squares <- n * n
			}
		}()
	}
	go func() {
		for n := 0; n < 1000; n++ {
			numbers <- n
		}
		close(numbers)
		workers.Wait()
		close(squares)
	}()
	sum := 0
	for n := range squares {
		sum += n
	}
	fmt.Println("goroutines", sum)
}

func timers() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	<-ticker.C
	<-ctx.Done()
	fmt.Println("timers", ctx.Err())
}

func memory() {
	for n := 0; n < 50; n++ {
		_ = bytes.Repeat([]byte{1}, 1<<20)
	}
	runtime.GC()
	fmt.Println("memory", runtime.NumGoroutine() > 0)
}

func files() {
	dir, err := os.MkdirTemp("", "go")
	must(err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "file")
	must(os.WriteFile(path, bytes.Repeat([]byte("line\n"), 1000), 0o644))
	file, err := os.Open(path)
	must(err)
	hash := sha256.New()
	_, err = io.Copy(hash, file)
	must(err)
	must(file.Close())
	must(os.Rename(path, path+"2"))
	must(os.Symlink("file2", path))
	entries, err := os.ReadDir(dir)
	must(err)
	fmt.Printf("files %x %d\n", hash.Sum(nil)[:4], len(entries))
}

func tcp() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				line, _ := bufio.NewReader(conn).ReadString('\n')
				fmt.Fprint(conn, strings.ToUpper(line))
				conn.Close()
			}()
		}
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	must(err)
	fmt.Fprintln(conn, "over tcp")
	answer, err := io.ReadAll(conn)
	must(err)
	must(listener.Close())
	fmt.Print("tcp ", string(answer))
}

func web() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello ", r.URL.Path)
	})}
	go server.Serve(listener)
	var clients sync.WaitGroup
	lengths := make(chan int, 40)
	for range [4]struct{}{} {
		clients.Add(1)
		go func() {
			defer clients.Done()
			for range [10]struct{}{} {
				response, err := http.Get("http://" + listener.Addr().String() + "/path")
				must(err)
				body, err := io.ReadAll(response.Body)
				must(err)
				response.Body.Close()
				lengths <- len(body)
			}
		}()
	}
	clients.Wait()
	// Shutdown waits five seconds for a connection that was opened in advance and never used.
	http.DefaultClient.CloseIdleConnections()
	must(server.Shutdown(context.Background()))
	close(lengths)
	sum := 0
	for n := range lengths {
		sum += n
	}
	fmt.Println("web", sum)
}

func children() {
	sort := exec.Command("sort")
	sort.Stdin = strings.NewReader("b\na\n")
	out, err := sort.Output()
	must(err)
	status := exec.Command("sh", "-c", "exit 3").Run().(*exec.ExitError).ExitCode()
	// On a busy machine, too, sleep(1) has made all its calls by then.
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	killed := exec.CommandContext(ctx, "sleep", "60").Run()
	fmt.Printf("children %q %d %v\n", out, status, killed)
}

func signals() {
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGUSR1)
	must(syscall.Kill(os.Getpid(), syscall.SIGUSR1))
	fmt.Println("signals", <-got)
}

func main() {
	for _, part := range []func(){goroutines, timers, memory, files, tcp, web, children, signals} {
		part()
	}
	os.Exit(5)
}
