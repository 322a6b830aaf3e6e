// SPDX-License-Identifier: Apache-2.0

import java.io.IOException;
import java.net.ServerSocket;

/** Listens on the port that is its argument until it is killed. */
final class Refused {
  public static void main(String[] arguments) throws IOException {
    try (ServerSocket server = new ServerSocket(Integer.parseInt(arguments[0]))) {
      System.out.println("listening");
      server.accept();
    }
  }
}
