import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.Unpooled;
import io.netty.channel.*;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.epoll.*;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.handler.codec.http.*;
public class Netty {
    public static void main(String[] a) throws Exception {
        boolean epoll = a[0].equals("epoll");
        EventLoopGroup g = epoll ? new EpollEventLoopGroup(2) : new NioEventLoopGroup(2);
        ServerBootstrap b = new ServerBootstrap().group(g)
            .channel(epoll ? EpollServerSocketChannel.class : NioServerSocketChannel.class)
            .childHandler(new ChannelInitializer<Channel>() {
                protected void initChannel(Channel c) {
                    c.pipeline().addLast(new HttpServerCodec(), new SimpleChannelInboundHandler<Object>() {
                        protected void channelRead0(ChannelHandlerContext x, Object m) {
                            if (!(m instanceof HttpRequest)) return;
                            byte[] t = (ProcessHandle.current().pid() + " " + ((HttpRequest) m).uri()).getBytes();
                            DefaultFullHttpResponse r = new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, HttpResponseStatus.OK, Unpooled.wrappedBuffer(t));
                            r.headers().set("Content-Length", t.length);
                            x.writeAndFlush(r).addListener(ChannelFutureListener.CLOSE);
                        }
                    });
                }
            });
        Channel c = b.bind(Integer.parseInt(a[1])).sync().channel();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> { c.close().syncUninterruptibly(); }));
        c.closeFuture().sync();
    }
}
