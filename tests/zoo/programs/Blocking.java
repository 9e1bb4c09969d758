import java.io.*;
import java.net.*;
public class Blocking {
    public static void main(String[] a) throws Exception {
        ServerSocket s = new ServerSocket(Integer.parseInt(a[0]));
        while (true) {
            Socket c = s.accept();
            new Thread(() -> {
                try (c) {
                    BufferedReader r = new BufferedReader(new InputStreamReader(c.getInputStream()));
                    String line = r.readLine(); if (line == null) return;
                    for (String x = r.readLine(); x != null && !x.isEmpty(); x = r.readLine()) { }
                    String b = ProcessHandle.current().pid() + " " + line.split(" ")[1];
                    c.getOutputStream().write(("HTTP/1.0 200 OK\r\nContent-Length: " + b.length() + "\r\n\r\n" + b).getBytes());
                } catch (IOException e) { }
            }).start();
        }
    }
}
