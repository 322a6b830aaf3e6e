// SPDX-License-Identifier: Apache-2.0

// Listens on the port that is its argument until it is killed.
package main

import (
	"fmt"
	"log"
	"net"
	"os"
)

func main() {
	listener, err := net.Listen("tcp", ":"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening")
	if _, err := listener.Accept(); err != nil {
		log.Fatal(err)
	}
}
