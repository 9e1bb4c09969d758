import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
public class Jdk {
    public static void main(String[] a) throws Exception {
        HttpServer s = HttpServer.create(new InetSocketAddress(Integer.parseInt(a[0])), 0);
        s.createContext("/", x -> {
            byte[] b = (ProcessHandle.current().pid() + " " + x.getRequestURI().getPath()).getBytes();
            x.sendResponseHeaders(200, b.length); x.getResponseBody().write(b); x.close();
        });
        s.setExecutor(java.util.concurrent.Executors.newFixedThreadPool(4));
        s.start();
    }
}
