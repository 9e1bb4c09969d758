import org.eclipse.jetty.server.*;
import org.eclipse.jetty.server.handler.AbstractHandler;
import javax.servlet.http.*;
public class Jetty {
    public static void main(String[] a) throws Exception {
        Server s = new Server(Integer.parseInt(a[0]));
        s.setStopAtShutdown(true); s.setStopTimeout(3000);
        s.setHandler(new AbstractHandler() {
            public void handle(String t, Request r, HttpServletRequest q, HttpServletResponse p) throws java.io.IOException {
                p.getWriter().print(ProcessHandle.current().pid() + " " + t); r.setHandled(true);
            }
        });
        s.start(); s.join();
    }
}
